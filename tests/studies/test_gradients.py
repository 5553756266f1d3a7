"""Gradients apart against autograd one by one, gains against plain steps, and every branch of the verdicts."""

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.paraphrases import paraphrases
from oneway.models.architecture import Architecture
from oneway.models.transformer import initial_weights, logits
from oneway.studies.gradients import (
    CLAIMS,
    GROUPS,
    KINDS,
    STUDY,
    Config,
    Model,
    Training,
    gradients_of,
    grouped,
    measure,
    overlaps,
    sentences_asked,
)

SMALL = Config(pairs=6, model=Model(width=8, heads=2), training=Training(steps=4, every=2), seeds=(0, 1, 2))
WORLD = paraphrases(6, seed=3)


def shape(unembedding: str) -> Architecture:
    return Architecture(
        vocab=WORLD.vocabulary_size, context=3, layers=2, width=8, heads=2, mlp=16, unembedding=unembedding,
        init_std=0.3,
    )  # fmt: skip


def loss_of(weights: dict, a: Architecture, sentence: torch.Tensor) -> torch.Tensor:
    found = logits(weights, sentence[:-1].view(1, 1, -1), a)[0, 0, -1]
    return -found.log_softmax(-1)[sentence[-1]]


@pytest.mark.parametrize("unembedding", ["untied", "tied"])
def test_overlaps_are_those_of_gradients_taken_one_by_one(unembedding: str) -> None:
    """Every cosine and every gain again, by loops over sentences in float64."""
    a = shape(unembedding)
    weights = {n: w.double() for n, w in initial_weights(a, [5]).items()}
    asked = torch.from_numpy(sentences_asked(WORLD))
    drop = 0.01

    def gradient(sentence: torch.Tensor) -> torch.Tensor:
        leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
        found = torch.autograd.grad(loss_of(leaves, a, sentence), list(leaves.values()), allow_unused=True)
        return torch.cat([(torch.zeros_like(w) if g is None else g).flatten()
                          for g, w in zip(found, leaves.values(), strict=True)])  # fmt: skip

    def stepped(direction: torch.Tensor) -> dict:
        moved, at = {}, 0
        size = drop / direction.square().sum()
        for name, w in weights.items():
            moved[name] = w - size * direction[at : at + w.numel()].view_as(w)
            at += w.numel()
        return moved

    g = {(k, i): gradient(asked[k, i]) for k in range(4) for i in range(2)}
    found = overlaps(weights, a, WORLD, drop)
    for k, kind in enumerate(KINDS):
        cosine = [[torch.cosine_similarity(g[0, i], g[k, j], 0).item() for j in range(2)] for i in range(2)]
        gain = [
            [
                ((loss_of(weights, a, asked[k, j]) - loss_of(stepped(g[0, i]), a, asked[k, j])) / drop).item()
                for j in range(2)
            ]
            for i in range(2)
        ]
        own, others = np.trace(cosine) / 2, (cosine[0][1] + cosine[1][0]) / 2
        assert found["all", f"{kind}_cosine"] == pytest.approx(own, abs=1e-6)
        assert found["all", f"{kind}_excess"] == pytest.approx(own - others, abs=1e-6)
        expected = np.trace(gain) / 2 - (gain[0][1] + gain[1][0]) / 2
        assert found["all", f"{kind}_transfer"] == pytest.approx(expected, abs=1e-6)
        assert found["all", f"{kind}_first_order"] == pytest.approx(expected, abs=0.05)
    assert found["all", "forward_cosine"] == pytest.approx(1)
    assert 0 < found["all", "first_order_error"] < 0.05


def test_the_error_of_the_first_order_shrinks_with_the_step() -> None:
    a = shape("untied")
    weights = initial_weights(a, [5])
    large, small = (overlaps(weights, a, WORLD, drop)["all", "first_order_error"] for drop in (0.1, 0.01))
    assert small == pytest.approx(large / 10, rel=0.3)


@pytest.mark.parametrize("unembedding", ["untied", "tied"])
def test_groups_hold_every_parameter_once_but_the_norms(unembedding: str) -> None:
    a = shape(unembedding)
    gradients = gradients_of(initial_weights(a, [5]), a, torch.from_numpy(WORLD.train[:2]))
    sizes = {name: sum(part.shape[1] for part in parts) for name, parts in grouped(gradients).items()}
    norms = sum(g[0].numel() for n, g in gradients.items() if "ln" in n)
    assert sizes["all"] == sum(g[0].numel() for g in gradients.values())
    assert sizes["all"] - norms == sum(size for name, size in sizes.items() if name != "all")
    assert sizes["attention pattern"] == a.layers * 2 * (8 * 8 + 8)
    assert set(sizes) == set(GROUPS) - (set() if unembedding == "untied" else {"unembedding"})


def test_a_killed_run_goes_on_and_ends_with_the_same_curves(tmp_path) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 2
    kept[0].unlink()
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = measure(whole)
    assert {name for claim in CLAIMS for name in claim.reads} <= set(measured)
    assert len(STUDY.figure(measured, whole).axes) == 4
    one = measure(whole.filter(pl.col("seed") == 0))
    assert {judged.verdict for judged in STUDY.judge(one)} == {Verdict.INCONCLUSIVE}


def test_checkpoints_are_averaged_but_the_training_loss_is_the_last() -> None:
    rows = [
        (seed, step, "tied", "all", quantity, step + seed / 10)
        for quantity in ("trained_nll", "least_loss", "reverse_transfer", "paraphrase_transfer")
        for seed in range(3)
        for step in (2, 0, 1)
    ]
    columns = ["seed", "step", "unembedding", "group", "quantity", "value"]
    found = measure(pl.DataFrame(rows, schema=columns, orient="row"))
    assert found["tied_trained_nll"].mean == pytest.approx(2.1)
    assert found["tied_least_loss"].mean == pytest.approx(0.1)
    assert found["tied_reverse_transfer"].mean == pytest.approx(1.1)
    assert found["tied_reverse_transfer_less_a_tenth"].mean == pytest.approx(0.9 * 1.1)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


BASE = {
    "untied_trained_nll": 0.01, "untied_least_loss": 2.0, "untied_again_excess": 0.9,
    "untied_paraphrase_excess": 0.8, "untied_reverse_excess": 0.0, "untied_paraphrase_transfer": 0.8,
    "untied_reverse_transfer": 0.0, "untied_reverse_transfer_less_a_tenth": -0.08,
    "untied_again_transfer": 0.9, "untied_first_order_error": 0.01,
}  # fmt: skip
N3, STEP, FIRST_ORDER = CLAIMS[0], CLAIMS[1], CLAIMS[4]


@pytest.mark.parametrize(
    ("claim", "change", "verdict"),
    [
        (N3, {}, "reproduced"),
        (N3, {"untied_reverse_excess": -0.2}, "reproduced"),
        (N3, {"untied_reverse_excess": 0.02}, "contradicted"),
        (N3, {"untied_trained_nll": 0.5}, "inconclusive"),
        (N3, {"untied_least_loss": 0.0005}, "inconclusive"),
        (N3, {"untied_paraphrase_excess": 0.1}, "inconclusive"),
        (N3, {"untied_again_excess": 0.1}, "inconclusive"),
        (STEP, {}, "reproduced"),
        (STEP, {"untied_reverse_transfer_less_a_tenth": 0.1}, "contradicted"),
        (STEP, {"untied_reverse_transfer_less_a_tenth": 0.0}, "inconclusive"),
        (STEP, {"untied_paraphrase_transfer": 0.05}, "inconclusive"),
        (FIRST_ORDER, {}, "reproduced"),
        (FIRST_ORDER, {"untied_first_order_error": 0.3}, "contradicted"),
        (FIRST_ORDER, {"untied_first_order_error": 0.1}, "inconclusive"),
        (FIRST_ORDER, {"untied_again_transfer": 0.1}, "inconclusive"),
    ],
    ids=str,
)
def test_every_branch_of_the_rules(claim, change: dict[str, float], verdict: str) -> None:
    measured = {name: around(mean) for name, mean in (BASE | change).items()}
    assert claim.judge(measured).verdict is Verdict(verdict)


def test_a_wide_interval_about_zero_decides_nothing() -> None:
    measured = {name: around(mean) for name, mean in BASE.items()}
    measured["untied_reverse_excess"] = Estimate(0.0, -0.2, 0.2, 10, "")
    assert N3.judge(measured).verdict is Verdict.INCONCLUSIVE
