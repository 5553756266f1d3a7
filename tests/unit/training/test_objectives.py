"""The losses by hand, for both kinds of model, with dropout that a killed run repeats."""

import math
from dataclasses import replace

import pytest
import torch

from oneway.models.architecture import gpt2
from oneway.models.lstm import LSTM, initial_lstm
from oneway.models.transformer import initial_weights, logits
from oneway.training.cross_entropy import cross_entropy
from oneway.training.dropout import Dropout
from oneway.training.fit import Batch, fit, last_tokens_loss
from oneway.training.objectives import LOSSES, best_probability, last_tokens_objective
from oneway.training.optimisers import Optimisation

SHAPE = gpt2(vocab=17, context=6, layers=2, width=8, heads=2)
RECURRENT = LSTM(vocab=17, layers=2, width=8)


def batch(read: int = 2, step: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(17, (2, 5, 4), generator=generator)
    targets = torch.randint(17, (2, 5 * read), generator=generator)
    return Batch(tokens, torch.empty(0, dtype=torch.long), targets, torch.ones(2, 5 * read))


def initial(a, seeds=(1, 2)):
    return initial_lstm(a, seeds) if isinstance(a, LSTM) else initial_weights(a, seeds)


def test_the_losses_by_hand():
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    target = torch.tensor([0])
    assert float(LOSSES["cross_entropy"](scores, target)) == pytest.approx(math.log(2))
    smooth = 0.9 * math.log(2) + 0.1 / 3 * (math.log(2) + 2 * math.log(4))
    assert float(LOSSES["label_smoothing"](scores, target)) == pytest.approx(smooth)
    assert float(LOSSES["squared_error"](scores, target)) == pytest.approx(0.25 + 2 * 0.0625)
    assert float(LOSSES["focal"](scores, target)) == pytest.approx(0.25 * math.log(2))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_best_probability_is_where_the_loss_is_smallest(loss):
    best = best_probability(loss, 17)
    losses = {}
    for p in (best - 0.02, min(best, 1 - 1e-9), min(best + 0.02, 1 - 1e-7)):
        q = torch.full((1, 17), (1 - p) / 16, dtype=torch.float64)
        q[0, 3] = p
        losses[p] = float(LOSSES[loss](q.log(), torch.tensor([3])))
    assert min(losses, key=losses.get) == min(best, 1 - 1e-9)


def test_cross_entropy_on_the_answer_is_the_loss_that_less_general_code_computes():
    weights = initial(SHAPE)
    torch.testing.assert_close(
        last_tokens_objective("cross_entropy")(weights, SHAPE, batch()),
        last_tokens_loss(weights, SHAPE, batch()),
        rtol=0,
        atol=0,
    )


def test_as_many_targets_as_tokens_predict_the_whole_sequence():
    weights, asked = initial(SHAPE), batch(read=4)
    logprobs = logits(weights, asked.tokens, SHAPE).log_softmax(-1).flatten(1, 2)
    by_hand = -logprobs.gather(-1, asked.targets.unsqueeze(-1)).squeeze(-1).mean(1)
    torch.testing.assert_close(last_tokens_objective("cross_entropy")(weights, SHAPE, asked), by_hand)


@pytest.mark.parametrize("a", [SHAPE, RECURRENT], ids=["transformer", "lstm"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_model_learns_with_every_loss_stacked_as_alone(a, loss):
    asked, objective = batch(), last_tokens_objective(loss)
    o = Optimisation(steps=15, learning_rate=0.01)
    together = fit(initial(a), a, lambda step: asked, o, objective=objective)
    one = Batch(*(tensor[1:] for tensor in asked[:4]))
    alone = fit(initial(a, (2,)), a, lambda step: one, o, objective=objective)
    for name, value in alone.weights.items():
        torch.testing.assert_close(together.weights[name][1:], value, atol=1e-3, rtol=1e-2)
    before, after = objective(initial(a), a, asked), objective(together.weights, a, asked)
    assert (after < before).all()


def test_frozen_at_both_ends_only_the_blocks_move():
    for a in (
        replace(SHAPE, embeddings="both_ends_frozen"),
        replace(RECURRENT, embeddings="both_ends_frozen"),
    ):
        for ends in ("tied", "untied"):
            a = replace(a, unembedding=ends)
            start = initial(a)
            end = fit(
                start,
                a,
                lambda step: batch(),
                Optimisation(steps=2),
                objective=last_tokens_objective("focal"),
            ).weights
            still = {name for name in start if torch.equal(start[name], end[name])}
            assert still == {"W_E", "W_pos", "W_U"} & set(start)


def test_dropout_silences_the_stated_share_and_keeps_the_mean():
    x = torch.ones(2, 400, 50)
    dropped = Dropout(0.25, (1, 2), step=7)(x)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(dropped[0], dropped[1])
    with pytest.raises(ValueError, match="dropout"):
        Dropout(1.0, (1,), step=0)


def test_what_is_silenced_depends_on_seed_and_step_alone():
    x = torch.ones(2, 3, 4)
    together = Dropout(0.5, (1, 2), step=7)
    alone = Dropout(0.5, (2,), step=7)
    for _ in range(3):  # further calls of one step draw on
        assert torch.equal(together(x)[1:], alone(x[1:]))
    first, again, later = (Dropout(0.5, (1, 2), step=step)(x) for step in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


@pytest.mark.parametrize("a", [SHAPE, RECURRENT], ids=["transformer", "lstm"])
def test_dropout_that_drops_nothing_changes_nothing_and_half_does(a):
    weights, objective = initial(a), last_tokens_objective("cross_entropy")
    plain = objective(weights, a, batch())
    torch.testing.assert_close(objective(weights, a, batch()._replace(drop=lambda x: x)), plain)
    silenced = objective(weights, a, batch()._replace(drop=Dropout(0.5, (1, 2), step=0)))
    assert not torch.allclose(silenced, plain)


def test_the_block_with_dropout_still_does_not_look_ahead():
    """Its attention is spelled out there: the mask must be that of the fused one, wherever reading starts."""
    weights = {name: w * 5 for name, w in initial(SHAPE).items()}
    for read in (1, 2, 4):
        asked = batch(read)
        torch.testing.assert_close(
            last_tokens_objective("cross_entropy")(weights, SHAPE, asked._replace(drop=lambda x: x)),
            last_tokens_objective("cross_entropy")(weights, SHAPE, asked),
        )


def test_cross_entropy_has_torchs_values_and_gradients_at_any_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(7, (50,), generator=generator)
    weights = torch.rand(50, generator=generator)
    for scale in (1.0, 300.0):  # at the larger the probability of most targets is zero in float32
        logits = (scale * torch.randn(50, 7, generator=generator)).requires_grad_()
        found = cross_entropy(logits, targets)
        (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
        wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        (wanted_gradient,) = torch.autograd.grad((wanted * weights).sum(), logits)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-6)
