"""The grid's settings, its counts, every branch of its rules on made-up numbers, and a killed grid."""

from dataclasses import replace

import polars as pl
import pytest

from oneway.evidence import Verdict
from oneway.studies import reversal, reversal_grid
from oneway.studies.reversal import Model, Training, World
from oneway.studies.reversal_grid import (
    AXES,
    CURVES,
    STUDY,
    Config,
    axis,
    cells,
    figure,
    measure,
    tables,
    with_changes,
)

SMALL = Config(
    base=reversal.Config(
        world=World(vocabulary=20),
        model=Model(layers=1, width=8, heads=2, unembedding="untied"),
        training=Training(epochs=4, batch=8, evaluate_every=2),
    ),
    axes=(
        axis("layers", 1, 2),
        axis("loss", "cross_entropy", "focal"),
        axis("architecture", "transformer", "lstm"),
    ),
    seeds=(0, 1, 2),
)


def test_a_setting_changes_what_it_names_and_nothing_else():
    base = SMALL.base
    changed = with_changes(base, {"vocabulary": 40, "heads": 4, "loss": "focal"})
    assert changed.world == World(vocabulary=40)
    assert changed.model == replace(base.model, heads=4)
    assert changed.training == replace(base.training, loss="focal")
    with pytest.raises(ValueError, match="no colour"):
        with_changes(base, {"colour": "red"})


@pytest.mark.parametrize("recipe", ["quick", "standard", "paper", "published_code"])
def test_every_recipe_has_every_axis_around_a_default_that_stands_in_each(recipe):
    config = STUDY.config(recipe)
    assert tuple(one.name for one in config.axes) == AXES
    assert config.seeds == tuple(range(10))
    STUDY.check(config)
    named = cells(config)
    for name in AXES:
        assert replace(config.base, seeds=config.seeds) in [named[key] for key in named if key[0] == name]


def test_the_published_text_and_the_published_code_differ_as_found():
    text, code = STUDY.config("paper").base, STUDY.config("published_code").base
    assert (text.model.unembedding, text.training.weight_decay, text.training.dropout) == ("tied", 0.9, 0.0)
    assert (code.model.unembedding, code.training.weight_decay, code.training.dropout) == (
        "untied",
        0.01,
        0.1,
    )
    assert replace(code.model, unembedding="tied") == text.model


def test_a_setting_that_cannot_be_is_named():
    with pytest.raises(ValueError, match="heads=3: width 8 is not a multiple"):
        STUDY.check(replace(SMALL, axes=(axis("heads", 3),)))


def test_a_killed_grid_trains_what_is_missing_and_ends_with_the_same_numbers(tmp_path, monkeypatch):
    whole = STUDY.experiment(SMALL, SMALL.seeds, None)
    asked = []
    real = reversal.trained

    def killed_at_the_third(cell, *rest):
        asked.append(cell)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(cell, *rest)

    monkeypatch.setattr(reversal, "trained", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    resumed = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    assert resumed.equals(whole)
    assert len(asked) == 3 + 2  # four different settings: two were kept, two trained anew
    again = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    assert again.equals(whole)
    assert len(asked) == 5


def test_the_kept_curves_agree_with_the_study_of_one_setting():
    grid = STUDY.experiment(replace(SMALL, axes=SMALL.axes[1:2]), SMALL.seeds, None)
    alone = reversal.trained(
        with_changes(replace(SMALL.base, seeds=SMALL.seeds), {"loss": "focal"}), SMALL.seeds, None
    )
    wanted = alone.filter(pl.col("quantity") == "validation_nll").drop("quantity")
    got = grid.filter((pl.col("setting") == "focal") & (pl.col("metric") == "loss: validation_nll"))
    assert got.drop("metric", "setting").equals(wanted)


def test_label_smoothing_is_learnt_at_the_probability_that_it_asks_for():
    curves = reversal_grid._of_interest(
        with_changes(SMALL.base, {"loss": "label_smoothing"}), SMALL.seeds, None, lambda done, total: None
    )
    plain = reversal.trained(with_changes(SMALL.base, {"loss": "label_smoothing"}), SMALL.seeds, None)
    seen = plain.filter(pl.col("quantity") == "seen_direction_probability")["value"]
    learnt = curves.filter(pl.col("quantity") == "learnt")["value"]
    assert (learnt * (0.9 + 0.1 / 22) - seen).abs().max() < 1e-12


def test_where_training_breaks_down_nothing_is_learnt(monkeypatch):
    def broken(*arguments):
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr(reversal, "trained", broken)
    measured = measure(STUDY.experiment(SMALL, SMALL.seeds, None))
    assert measured["settings"].mean == 6  # nothing shows that two are the same
    assert measured["settings_learnt"].mean == 0
    assert measured["not_learnt[layers=2]"].mean == 0
    assert {j.verdict for j in STUDY.judge(measured)} == {Verdict.INCONCLUSIVE}


def curves_of(**settings: tuple[float, float, float]) -> pl.DataFrame:
    """Made-up ends of an axis `layers`: learnt, excess, accuracy of each setting, seeds a little apart."""
    rows = []
    for label, (learnt, excess, accuracy) in settings.items():
        values = {
            "train_nll": 0.01,
            "learnt": learnt,
            "validation_nll": 5 + excess,
            "validation_excess": excess,
            "validation_type_excess": excess + 1,
            "validation_accuracy_over_chance": accuracy,
        }
        for seed in range(10):
            for quantity, value in values.items():
                noise = (seed - 4.5) * 1e-4
                rows += [
                    (seed, epoch, f"layers: {quantity}", label, epoch * (value + noise)) for epoch in (0, 1)
                ]
    return pl.DataFrame(rows, schema=CURVES, orient="row")


GOOD, UNLEARNT, LOW, NEAR = (0.999, 4.0, 0.0), (0.5, -2.0, 0.0), (0.999, -1.0, 0.0), (0.999, 0.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "grid", "right_type", "layers"),
    [
        ((GOOD, (0.999, 3, 0)), "reproduced", "reproduced", "reproduced"),
        ((GOOD, LOW), "contradicted", "reproduced", "contradicted"),
        ((GOOD, UNLEARNT), "reproduced", "reproduced", "reproduced"),
        ((UNLEARNT, (0.4, 3, 0)), "inconclusive", "inconclusive", "inconclusive"),
        ((GOOD, UNLEARNT, (0.4, 3, 0)), "inconclusive", "inconclusive", "reproduced"),
        ((GOOD, NEAR), "inconclusive", "reproduced", "inconclusive"),
        ((GOOD, (0.999, 4, 0.5)), "reproduced", "contradicted", "reproduced"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(settings, grid, right_type, layers):
    measured = measure(curves_of(**{str(number): values for number, values in enumerate(settings)}))
    verdicts = {j.claim.id: j.verdict for j in STUDY.judge(measured)}
    assert verdicts["Z3.grid"] == grid
    assert verdicts["Z3.grid-right-type"] == right_type
    assert verdicts["Z3.layers"] == layers
    assert verdicts["Z3.width"] == "inconclusive"  # not measured, so its control fails


def test_the_verdict_names_the_settings_that_fail_and_those_that_are_not_learnt():
    measured = measure(curves_of(a=GOOD, b=LOW, c=UNLEARNT, d=NEAR))
    counts = {k: measured[f"settings{k}"].mean for k in ("", "_learnt", "_that_hold", "_that_fail")}
    assert counts == {"": 4, "_learnt": 3, "_that_hold": 1, "_that_fail": 1}
    named = STUDY.judge(measured)[0].measured
    assert {name for name in named if "[" in name} == {
        "fails[layers=b]",
        "undecided[layers=d]",
        "not_learnt[layers=c]",
    }
    assert named["fails[layers=b]"].mean == pytest.approx(-1)


def test_the_default_counts_once_though_it_stands_in_every_axis():
    curves = curves_of(a=GOOD, b=(0.999, 3, 0))
    renamed = curves.with_columns(pl.col("metric").str.replace("layers", "width"))
    assert measure(pl.concat([curves, renamed]))["settings"].mean == 2


def test_one_seed_decides_nothing():
    one = curves_of(a=GOOD, b=LOW).filter(pl.col("seed") == 0)
    assert {j.verdict for j in STUDY.judge(measure(one))} == {Verdict.INCONCLUSIVE}


def test_a_table_and_a_figure_for_every_axis():
    curves = curves_of(a=GOOD, b=LOW)
    curves = pl.concat([curves, curves.with_columns(pl.col("metric").str.replace("layers", "width"))])
    found, drawn = tables(measure(curves), curves), figure(measure(curves), curves)
    assert set(found) == set(drawn) == {"layers", "width"}
    row = found["layers"].filter((pl.col("setting") == "b") & (pl.col("quantity") == "validation_excess"))
    assert row["mean"].item() == pytest.approx(-1)
    assert row["low"].item() < row["mean"].item() < row["high"].item() < 0
    assert row["n"].item() == 10
