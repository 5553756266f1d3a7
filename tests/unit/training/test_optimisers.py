"""The optimisers against hand-made and library references."""

import pytest
import torch

from oneway.training.optimisers import Muon, Optimisation, optimisers_for, orthogonalised


def test_the_orthogonalised_matrix_keeps_the_singular_vectors_and_levels_the_values():
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    # In the basis of the singular vectors the result is diagonal with entries near 1.
    rotated = u.transpose(-2, -1) @ orthogonalised(x) @ vh.transpose(-2, -1)
    diagonal = torch.diagonal(rotated, dim1=-2, dim2=-1)
    assert (rotated - torch.diag_embed(diagonal)).abs().max() < 1e-3
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()


def test_muon_agrees_with_torchs_own_on_a_single_matrix():
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(6, 4, generator=generator)
    gradients = [torch.randn(6, 4, generator=generator) for _ in range(3)]
    ours, theirs = start.clone()[None].requires_grad_(), start.clone().requires_grad_()
    group = {"params": [ours], "parts": 1, "query_key_share": 1.0, "weight_decay": 0.1}
    mine = Muon([group], lr=0.02, momentum=0.95)
    reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="original")
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone()[None], gradient.clone()
        mine.step()
        reference.step()
    # The reference's momentum is an average (a scale that orthogonalising removes) and it runs in bfloat16.
    torch.testing.assert_close(ours.detach()[0], theirs.detach(), atol=2e-3, rtol=0)


def test_muon_treats_seeds_and_parts_apart():
    generator = torch.Generator().manual_seed(2)
    start, gradient = (torch.randn(2, 4, 12, generator=generator) for _ in range(2))
    whole = start.clone().requires_grad_()
    whole.grad = gradient.clone()
    Muon([{"params": [whole], "parts": 3, "query_key_share": 0.5, "weight_decay": 0.0}], lr=0.1).step()
    for seed in range(2):
        for part, share in enumerate((0.5, 0.5, 1.0)):
            columns = slice(4 * part, 4 * part + 4)
            alone = start[seed : seed + 1, :, columns].clone().requires_grad_()
            alone.grad = gradient[seed : seed + 1, :, columns].clone()
            Muon(
                [{"params": [alone], "parts": 1, "query_key_share": 1.0, "weight_decay": 0.0}], lr=0.1 * share
            ).step()
            torch.testing.assert_close(whole.detach()[seed, :, columns], alone.detach()[0])


def test_every_trained_weight_has_exactly_one_optimiser():
    weights = {
        name: torch.zeros(1, 4, 4, requires_grad=name != "W_pos")
        for name in ("W_E", "W_pos", "W_U", "blocks.0.W_QKV", "blocks.0.W_in", "blocks.0.ln1.w")
    }
    for matrices, counts in (("adamw", [5]), ("muon", [3, 2])):
        optimisers = optimisers_for(weights, Optimisation(steps=1, matrices=matrices))
        held = [[p for group in o.param_groups for p in group["params"]] for o in optimisers]
        assert [len(parameters) for parameters in held] == counts
        assert len({id(p) for parameters in held for p in parameters}) == 5


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (99, 1 / 90)], ids=lambda x: f"{x:.2g}"
)
def test_the_rate_rises_over_the_warm_up_and_falls_to_zero(step, factor):
    o = Optimisation(steps=100, warm_up=0.1, schedule="linear")
    assert o.factor(step) == pytest.approx(factor)
    assert Optimisation(steps=100).factor(step) == 1.0
