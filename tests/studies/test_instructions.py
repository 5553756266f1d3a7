"""The study on a checkpoint that is given, from the run to its page; and that its recipes are what they say."""

from dataclasses import replace
from pathlib import Path

import pytest

from oneway.facts.instructions import instructions
from oneway.runs.execute import run_study
from oneway.studies.fine_tuned import Config, Own, own_checkpoint
from oneway.studies.instructions import STUDY

TINY = Own(families=4, athletes=4, layers=1, width=16, heads=2, steps=3)
GIVEN = {"epochs": 1, "batch": 64, "learning_rate": 1e-3}


def test_a_checkpoint_is_given_and_its_run_is_whole(tmp_path: Path) -> None:
    model = own_checkpoint(TINY, instructions(seed=0), 0, tmp_path / "model")
    small = replace(STUDY, recipes={"quick": lambda: Config(given=GIVEN, losses=("text", "answer"))})
    record, directory = run_study(small, seeds=(0,), out=tmp_path / "run", given={"model": str(model)})
    assert [claim["id"] for claim in record.claims] == [
        "B3.same-direction",
        "B3.both-ways",
        "B3",
        "B3.logprob-answers",
        "B3.masked",
        "B3.loss-mask",
    ]
    assert {claim["verdict"] for claim in record.claims} == {"inconclusive"}  # one seed
    assert record.config["model"] == str(model)
    assert record.config["losses"] == ["text", "answer"]
    assert record.config["given"] == GIVEN
    assert directory.read_table("curves.parquet").height == 2 * 3 * 7 + 1
    for name in ("report.html", "figures/instructions.png", "figures/instructions.svg"):
        assert directory.file(name).stat().st_size > 1000
    assert not directory.file("workspace").exists()


@pytest.mark.parametrize("recipe", ["quick", "standard", "paper"])
def test_every_recipe_fine_tunes_under_both_losses_with_seeds_enough(recipe: str) -> None:
    config = STUDY.config(recipe)
    assert config.losses == ("text", "answer")
    assert len(config.seeds) >= 3
    assert bool(config.model) == (recipe == "paper")
