"""Descent against autograd, padded batches against plain ones, the completed corner, and the branches of the rules."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.corners import Corners
from oneway.models.transformer import initial_weights, logits
from oneway.studies.corner_descent import Lessons, Start, descend
from oneway.studies.corner_transformers import Decoder, answers, trained
from oneway.studies.three_corner import DATA, STUDY, Adam, Config, Descent, check, pieces_of, read_steps
from oneway.studies.three_corner_claims import COMPLETED, NOT_COMPLETED, cell

SMALL = Config(
    pairs=4,
    scales=(0.01, 1.0),
    decays=(0.0, 0.01),
    transformer_scales=(0.02,),
    transformer_decays=(0.0,),
    descent=Descent(steps=1500, grid_steps=3000),
    adam=Adam(width=8, steps=20),
    seeds=(0, 1),
)


def lessons(models: int) -> Lessons:
    """Five sentences over four tokens, weighted differently for every model."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, 2, (5, 4), generator=generator).float()
    weights = torch.rand(models, 5, generator=generator)
    return Lessons(prompts, torch.tensor([0, 1, 2, 3, 1]), weights / weights.sum(1, keepdim=True))


def test_a_step_of_the_factors_is_the_gradient_of_the_loss_and_its_decay() -> None:
    starts, taught = [Start(3, 0.5, 0.0), Start(4, 0.1, 0.2)], lessons(2)
    (_, before), (_, after) = descend("factorised", starts, taught, step=0.5, read_at=(0, 1))
    for model, start in enumerate(starts):
        generator = torch.Generator().manual_seed(start.seed)
        u, v = (
            (start.scale * torch.randn(4, 32, generator=generator)).double().requires_grad_()
            for _ in range(2)
        )
        assert torch.allclose(before[model].double(), u @ v.T, atol=1e-6)
        each = torch.nn.functional.cross_entropy(
            taught.prompts.double() @ u @ v.T, taught.targets, reduction="none"
        )
        (each * taught.weights[model]).sum().backward()
        moved = [(1 - 0.5 * start.decay) * part - 0.5 * part.grad for part in (u, v)]
        assert torch.allclose(after[model].double(), moved[0] @ moved[1].T, atol=1e-6)


def test_a_step_of_the_free_matrix_is_the_gradient_of_the_loss() -> None:
    taught = lessons(1)
    (_, before), (_, after) = descend("direct", [Start(3, 0.5, 0.1)], taught, step=0.5, read_at=(0, 1))
    matrix = before[0].double().requires_grad_()
    each = torch.nn.functional.cross_entropy(
        taught.prompts.double() @ matrix, taught.targets, reduction="none"
    )
    (each * taught.weights[0]).sum().backward()
    assert torch.allclose(after[0].double(), 0.95 * matrix - 0.5 * matrix.grad, atol=1e-6)


def test_a_padded_batch_trains_as_its_sentences_alone_do() -> None:
    world, kinds = Corners(3), ("forward", "bridge")
    told = [world.sentences(kind) for kind in kinds]
    *_, (_, weights, shape) = trained(
        Decoder(width=8), world.vocabulary_size, (5,), told, [[0], [0, 1]], scale=0.1, decay=0.3, read_at=(2,)
    )
    alone = {n: w.clone().requires_grad_() for n, w in initial_weights(shape, (5,)).items()}
    optimiser = torch.optim.AdamW(alone.values(), lr=0.003, weight_decay=0.3)
    for _ in range(2):
        nll = []
        for sentences in told:
            tokens = torch.from_numpy(sentences)[None]
            scores = logits(alone, tokens[..., :-1], shape)[0, :, -1]
            nll.append(torch.nn.functional.cross_entropy(scores, tokens[0, :, -1], reduction="none"))
        torch.cat(nll).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    # Keys' biases have no gradient but rounding, which Adam makes as large as any: answers are compared, not weights.
    asked = world.sentences("bridge")[:, :-1]
    one = answers({name: weight[1:] for name, weight in weights.items()}, shape, asked)
    assert torch.allclose(one, answers(alone, shape, asked), atol=1e-5)


@pytest.fixture(scope="module")
def curves() -> pl.DataFrame:
    return STUDY.experiment(SMALL, SMALL.seeds, None)


def test_the_fourth_corner_is_completed_by_factors_and_by_nothing_else(curves) -> None:
    measured = STUDY.measure(curves)
    assert measured["chance"].mean == 0.25
    for data in COMPLETED:
        assert measured[cell("among", "factorised", data)].mean == 1.0
        assert measured[cell("among", "direct", data)].mean < 0.7
    assert measured[cell("whole", "factorised", COMPLETED[0])].mean == 0.0
    assert measured[cell("whole", "factorised", COMPLETED[1])].mean == 1.0
    repaired = cell("among", "factorised", COMPLETED[0], "scale 1, decay 0.01")
    assert measured[repaired].mean == 1.0 > measured[repaired.replace("0.01", "0")].mean


def test_what_is_drawn_and_tabled(curves) -> None:
    measured = STUDY.measure(curves)
    drawn = STUDY.figure(measured, curves)
    assert set(drawn) == {"corners", "blocks", "spectrum"}
    table = STUDY.tables(measured, curves)["corners"]
    assert table.height == len(DATA) * 3 * 3
    norms = curves.filter(
        (pl.col("model") == "factorised") & (pl.col("quantity") == "nuclear") & (pl.col("data") == "forward")
    )
    by_step = (
        norms.filter(pl.col("scale") == 0.01, pl.col("decay") == 0.0).group_by("step").agg(pl.mean("value"))
    )
    assert by_step.sort("step")["step"].to_list() == read_steps(1500)
    assert by_step.sort("step")["value"].is_sorted()


def test_a_run_that_was_cut_short_goes_on_with_what_it_has(tmp_path, curves) -> None:
    first = pieces_of(SMALL, SMALL.seeds, tmp_path)[0]
    (tmp_path / f"{first.name}.json").write_text("[]")
    again = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    assert again.filter(
        (pl.col("model") == "factorised") & (pl.col("scale") == 0.01) & (pl.col("decay") == 0)
    ).is_empty()
    rest = curves.filter(
        ~((pl.col("model") == "factorised") & (pl.col("scale") == 0.01) & (pl.col("decay") == 0))
    )
    assert again.equals(rest)


@pytest.mark.parametrize("field", ["scales", "decays", "transformer_scales", "transformer_decays"])
def test_a_default_that_is_not_the_smallest_is_refused(field) -> None:
    with pytest.raises(ValueError, match=field):
        check(replace(SMALL, **{field: (1.0, 0.0)}))


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.005, mean + 0.005, 10, "probability")


def good() -> dict[str, Estimate]:
    """What every claim's rule supports."""
    found = {"chance": Estimate(0.125, 0.125, 0.125, 1, ""), "among[direct, everywhere]": around(0.12)}
    for model in ("factorised", "direct", "transformer"):
        for data in (*COMPLETED, *NOT_COMPLETED):
            completed = data in COMPLETED and model != "direct"
            found[cell("forward", model, data)] = around(1.0)
            found[cell("among", model, data)] = around(1.0 if completed else 0.12)
            found[cell("whole", model, data)] = around(1.0 if completed and data != COMPLETED[0] else 0.0)
    found[cell("among", "factorised", COMPLETED[0], "scale 1, decay 0")] = around(0.2)
    found[cell("among", "factorised", COMPLETED[0], "scale 1, decay 0.01")] = around(1.0)
    return found


@pytest.mark.parametrize(
    ("name", "mean", "claims", "verdict"),
    [
        (cell("among", "factorised", NOT_COMPLETED[1]), 0.4, ("Z8.three-corners",), "contradicted"),
        (cell("among", "factorised", NOT_COMPLETED[1]), 0.2, ("Z8.three-corners",), "inconclusive"),
        (cell("among", "transformer", COMPLETED[0]), 0.5, ("Z8.transformer",), "contradicted"),
        (cell("whole", "transformer", COMPLETED[1]), 0.5, ("Z8.transformer-target",), "contradicted"),
        (cell("whole", "factorised", COMPLETED[0]), 0.5, ("Z8.target",), "contradicted"),
        (cell("among", "direct", COMPLETED[0]), 0.5, ("Z8.direct",), "contradicted"),
        ("among[direct, everywhere]", 0.3, ("Z8.direct",), "inconclusive"),
        (
            cell("among", "factorised", COMPLETED[0], "scale 1, decay 0.01"),
            0.5,
            ("Z8.decay",),
            "contradicted",
        ),
        (
            cell("forward", "transformer", COMPLETED[0]),
            0.9,
            ("Z8.transformer", "Z8.transformer-target"),
            "inconclusive",
        ),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(name, mean, claims, verdict) -> None:
    judged = {one.claim.id: one.verdict for one in STUDY.judge(good() | {name: around(mean)})}
    assert [judged.pop(claim) for claim in claims] == [Verdict(verdict)] * len(claims)
    assert set(judged.values()) == {Verdict.REPRODUCED}


def test_steps_at_which_a_run_is_read() -> None:
    assert (read_steps(20_000)[0], read_steps(20_000)[-1]) == (10, 20_000)
    assert read_steps(1) == [1]
    assert np.all(np.diff(read_steps(400)) > 0)
