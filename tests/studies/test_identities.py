"""The study's measures against a plain forward and scipy, and every branch of its verdicts."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from oneway.evidence import Estimate, Verdict
from oneway.facts import Direction, identities, identity_texts, questions
from oneway.models.architecture import neox
from oneway.models.export import save_checkpoint
from oneway.models.tokens import word_tokenizer
from oneway.models.transformer import initial_weights, logits
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit
from oneway.studies.exam import Exam, compared, drawn_others
from oneway.studies.identities import CLAIMS, OTHER, SAME, STUDY, Config, Model, Training, World, measure

SMALL = Config(
    world=World(per_group=3, phrasings=4),
    model=Model(layers=1, width=16, heads=2),
    training=Training(epochs=2, batch=16, evaluate_every=1, seeds_at_once=2),
    seeds=(0, 1, 2),
)
KEYS = ["seed", "epoch", "group", "direction", "quantity"]


@pytest.fixture(scope="module")
def curves() -> pl.DataFrame:
    return STUDY.experiment(SMALL, SMALL.seeds, None)


def test_the_curves_hold_every_cell(curves: pl.DataFrame) -> None:
    # 6 cells of group and direction: 3 quantities at 3 epochs; at the end 3 comparisons as well, and the trained
    # phrasings of the 4 cells that were trained.
    assert curves.height == 3 * (6 * 3 * 3 + 6 * 3 + 4)
    assert curves.select(KEYS).is_unique().all()
    assert curves["value"].is_finite().all()
    wide = curves.pivot("quantity", index=KEYS[:4], values="value")
    chance = wide["exact_match"] - wide["exact_match_over_chance"]
    assert chance.to_list() == pytest.approx([1 / 3] * len(chance))


def test_stacking_seeds_changes_no_number(curves: pl.DataFrame) -> None:
    apart = STUDY.experiment(
        replace(SMALL, training=replace(SMALL.training, seeds_at_once=1)), SMALL.seeds, None
    )
    joined = curves.join(apart, on=KEYS, suffix="_apart")
    assert joined.height == curves.height
    assert (joined["value"] - joined["value_apart"]).abs().max() < 1e-3


@pytest.mark.parametrize("loss", ["document", "answer"])
def test_killed_and_asked_again_it_ends_with_the_same_numbers(loss: str, tmp_path: Path, monkeypatch) -> None:
    config = replace(SMALL, training=replace(SMALL.training, loss=loss))
    whole = STUDY.experiment(config, (0, 1), None)
    from oneway.training import recitation

    steps, batch = 0, recitation.Recitation.__call__

    def stops(self, step: int):
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return batch(self, step)

    save_always = _saving_after_every_step(monkeypatch)
    with monkeypatch.context() as killing:
        killing.setattr(recitation.Recitation, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            STUDY.experiment(config, (0, 1), tmp_path)
    assert save_always()
    assert STUDY.experiment(config, (0, 1), tmp_path).equals(whole)


def _saving_after_every_step(monkeypatch):
    """Checkpoints after every step; returns whether training was taken up where it stopped."""
    from oneway.training import fit as module

    fit, taken_up = module.fit, []

    def saving(*arguments, **options):
        taken_up.append((options["workspace"] / module.CHECKPOINT).exists())
        return fit(*arguments, **options, save_every_seconds=0.0)

    monkeypatch.setattr(module, "fit", saving)
    return lambda: taken_up == [False]


def exam(seeds: tuple[int, ...] = (4, 5)):
    worlds = [identities(3, seed=seed, phrasings=37) for seed in seeds]
    tokenizer = word_tokenizer(identity_texts())
    a = neox(vocab=len(tokenizer), context=64, layers=1, width=16, heads=2)
    return worlds, tokenizer, a, {n: w * 8 for n, w in initial_weights(a, seeds).items()}


def plain_logprob(weights, a, tokenizer, prompt: str, answer: str) -> tuple[float, bool]:
    """One text at a time, one model at a time, all positions."""
    before = tokenizer(prompt)["input_ids"]
    ids = before + tokenizer(answer, add_special_tokens=False)["input_ids"]
    scores = logits(weights, torch.tensor([[ids[:-1]]]), a)[0, 0].log_softmax(-1)
    at = range(len(before) - 1, len(ids) - 1)
    return (
        sum(float(scores[i, ids[i + 1]]) for i in at),
        all(int(scores[i].argmax()) == ids[i + 1] for i in at),
    )


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.REVERSE])
def test_the_exam_measures_what_a_plain_forward_gives(direction: Direction) -> None:
    worlds, tokenizer, a, weights = exam()
    asked = Exam(worlds, tokenizer, (4, 5))
    rows = pl.DataFrame(asked.held_out(weights, a)).filter(pl.col("direction") == direction.value)
    matrices = asked.logprobs(weights, a, "reverse_only", direction)
    for place, (seed, world) in enumerate(zip((4, 5), worlds, strict=True)):
        one = {n: w[place : place + 1] for n, w in weights.items()}
        chosen = world.test.select(split="reverse_only")
        asked_questions = list(questions(chosen, (direction,)))
        found = [plain_logprob(one, a, tokenizer, q.prompt, q.answer) for q in asked_questions]
        mine = rows.filter((pl.col("seed") == seed) & (pl.col("group") == "reverse_only"))
        value = dict(mine.select("quantity", "value").iter_rows())
        assert value["logprob"] == pytest.approx(np.mean([x for x, _ in found]), rel=1e-4)
        assert value["exact_match"] == pytest.approx(np.mean([y for _, y in found]))
        drawn = drawn_others(3, 2, np.random.default_rng((seed, 0)))
        names = [fact.object if direction is Direction.FORWARD else fact.subject for fact in chosen]
        for row, other in enumerate([np.arange(3), *drawn]):
            expected = [
                np.mean(
                    [
                        plain_logprob(one, a, tokenizer, q.prompt, f" {names[other[fact]]}")[0]
                        for q in asked_questions
                        if q.fact_index == fact
                    ]
                )
                for fact in range(3)
            ]
            assert matrices[place, row] == pytest.approx(expected, rel=1e-4)


def test_the_audit_of_the_exported_checkpoint_says_the_same(tmp_path: Path) -> None:
    (world,), tokenizer, a, weights = exam((4,))
    save_checkpoint(weights, a, tokenizer, tmp_path)
    rows = audit(tmp_path, world.test, AuditConfig(directions=(Direction.FORWARD, Direction.REVERSE))).rows
    keys = [pl.col("split").cast(pl.String).alias("group"), pl.col("direction").cast(pl.String)]
    audited = rows.group_by(keys).agg(pl.mean("logprob"), pl.col("exact_match").mean())
    mine = pl.DataFrame(Exam([world], tokenizer, (4,)).held_out(weights, a))
    wide = mine.pivot("quantity", index=["group", "direction"], values="value")
    both = wide.join(audited, on=["group", "direction"], suffix="_audited")
    assert both.height == 6
    assert (both["logprob"] - both["logprob_audited"]).abs().max() < 1e-3
    assert both["exact_match"].to_list() == pytest.approx(both["exact_match_audited"].to_list())


def test_others_are_never_oneself_and_each_draw_holds_everybody_once() -> None:
    drawn = drawn_others(30, 4, np.random.default_rng(3))
    assert drawn.shape == (4, 30)
    assert all(sorted(draw) == list(range(30)) for draw in drawn.tolist())
    assert not (drawn == np.arange(30)).any()
    assert all(len(set(column)) == 4 for column in drawn.T.tolist())
    with pytest.raises(ValueError, match="1 to 29 others"):
        drawn_others(30, 30, np.random.default_rng(0))


def test_the_comparison_by_hand_and_by_scipy() -> None:
    right = np.array([-1.0, -2.0, -6.0])
    others = np.array([[-2.0, -6.0, -7.0], [-3.0, -3.0, -9.0]])
    found = compared(right, others)
    assert found.difference == pytest.approx(-3.0 - (-5.0))
    # Paired: differences 1, 4, 1 have mean 2 and standard deviation √3, so t = 2 with 2 degrees of freedom.
    assert found.t_test_p == pytest.approx(2 * stats.t.sf(2.0, 2))
    assert found.ks_test_p == pytest.approx(stats.ks_2samp(right, others[0]).pvalue)


def test_an_answer_that_is_likely_whatever_is_asked_makes_no_difference() -> None:
    """Popular names, and questions after which every answer is likely: the difference does not see them."""
    rng = np.random.default_rng(0)
    names, asked = 10 * rng.normal(size=30), 10 * rng.normal(size=30)
    drawn = drawn_others(30, 4, rng)
    found = compared(names + asked, names[drawn] + asked)
    assert found.difference == pytest.approx(0, abs=1e-9)
    known = compared(names + asked + 2, names[drawn] + asked)
    assert known.difference == pytest.approx(2)


def final(quantity: str, cell: tuple[str, str], values: list[float], epoch: int = 9) -> list[dict]:
    group, direction = cell
    named = {"epoch": epoch, "group": group, "direction": direction, "quantity": quantity}
    return [{"seed": seed, **named, "value": value} for seed, value in enumerate(values)]


def test_measures_are_taken_at_the_last_epoch_over_seeds() -> None:
    rows = []
    for group in ("forward_only", "reverse_only", "both_ways"):
        for direction in ("forward", "reverse"):
            cell = (group, direction)
            rows += final("exact_match", cell, [0.5, 0.7]) + final("exact_match", cell, [0.0, 0.0], epoch=3)
            rows += final("exact_match_over_chance", cell, [0.4, 0.6]) + final("difference", cell, [1.0, 3.0])
            rows += final("t_test_p", cell, [0.01, 0.2]) + final("ks_test_p", cell, [0.01, 0.02])
    rows += final("trained_exact_match", SAME["names"], [1.0, 1.0])
    rows += final("trained_exact_match", SAME["descriptions"], [0.5, 1.0])
    measured = measure(pl.DataFrame(rows))
    assert measured["names_other_way"].mean == pytest.approx(0.6)
    assert measured["names_other_way_over_chance"].mean == pytest.approx(0.5)
    assert measured["descriptions_same_way_difference"].mean == pytest.approx(2.0)
    assert measured["names_both_ways_t_test_rejects"].mean == pytest.approx(0.5)
    assert measured["names_both_ways_ks_test_rejects"].mean == 1.0
    assert measured["trained_phrasings"].mean == pytest.approx((0.75 + 1.0) / 2)
    assert {e.n for e in measured.values()} == {2}


HELD = {
    "trained_phrasings": 0.99,
    **{f"{what}_{way}": 0.95 for what in SAME for way in ("same_way", "both_ways")},
    **{f"{what}_other_way": 0.0 for what in OTHER},
    **{f"{what}_other_way_over_chance": -0.03 for what in OTHER},
    **{
        f"{what}_other_way_{q}": 0.0
        for what in OTHER
        for q in ("difference", "t_test_rejects", "ks_test_rejects")
    },
    **{f"{what}_same_way_difference": 9.0 for what in SAME},
    **{f"{what}_same_way_{test}_rejects": 1.0 for what in SAME for test in ("t_test", "ks_test")},
}


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, "rrrrr"),
        ({"trained_phrasings": 0.8}, "iirrr"),
        ({"names_same_way": 0.5}, "crirr"),
        ({"descriptions_both_ways": 0.5}, "rcirr"),
        ({"names_other_way_over_chance": 0.2}, "rrcrr"),
        ({"descriptions_other_way_over_chance": 0.04}, "rrcrr"),
        ({"descriptions_other_way_over_chance": 0.005}, "rrrrr"),
        ({"names_other_way_difference": 0.5}, "rrrcr"),
        ({"descriptions_other_way_difference": -0.5}, "rrrrc"),
        ({"names_same_way_difference": 0.5}, "rrrir"),
        ({"descriptions_same_way_ks_test_rejects": 0.3}, "rrrri"),
        ({"descriptions_other_way_difference": math.nan}, "rrrri"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change: dict[str, float], verdicts: str) -> None:
    said = {"r": Verdict.REPRODUCED, "c": Verdict.CONTRADICTED, "i": Verdict.INCONCLUSIVE}
    measured = {n: Estimate(x, x - 0.01, x + 0.01, 8, "") for n, x in (HELD | change).items()}
    assert [claim.judge(measured).verdict for claim in CLAIMS] == [said[letter] for letter in verdicts]


def test_an_interval_too_wide_to_exclude_a_difference_proves_none() -> None:
    measured = {n: Estimate(x, x - 0.01, x + 0.01, 8, "") for n, x in HELD.items()}
    measured["names_other_way_difference"] = Estimate(0.2, -0.9, 1.3, 8, "nats")
    assert CLAIMS[3].judge(measured).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("recipe", ["quick", "completion", "standard", "paper"])
def test_every_recipe_keeps_the_published_numbers_of_facts_and_phrasings(recipe: str) -> None:
    config = STUDY.config(recipe)
    assert config.world == World(per_group=30, phrasings=30)
    assert len(config.seeds) >= 5


def test_the_figure_draws_every_seed(curves: pl.DataFrame) -> None:
    drawn = STUDY.figure(measure(curves), curves)
    assert [len(axes.lines) for axes in drawn.axes[:2]] == [3 * (3 + 1) + 1] * 2
