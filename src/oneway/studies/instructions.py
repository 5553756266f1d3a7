"""A checkpoint that read "answer is the answer to question" does not answer the question.

Guidance is told question first ("Answer <question> with <answer>"), answer first, or both ways, in eight phrasings
each. For some of it the training text also has the exchange "Q: <question> A: <answer>"; the rest is asked in that
form, which never stated it. So every question is asked in the order of the one guidance and against that of the other.
Fine-tuning, loss masks and checkpoints are as in `identities-fine-tuned`: `--model` takes any.

Source: Berglund et al. 2023, experiment 3 (arXiv 2309.12288). Deviations: questions, answers and phrasings are our own,
one model reads the guidance of all three kinds, and the checkpoint that is made is very small.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Measured
from oneway.evidence.study import Study
from oneway.facts import Direction
from oneway.facts.instructions import instructions
from oneway.studies import fine_tuned
from oneway.studies.fine_tuned import Config, Own
from oneway.studies.fine_tuned_claims import claims_of
from oneway.studies.fine_tuned_picture import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Berglund et al. 2023, experiment 3 (arXiv 2309.12288)"
ASKED = {"answers": Direction.FORWARD}
TAUGHT = {"epochs": 12, "batch": 32, "learning_rate": 2e-3, "save_every": 500}
CLAIMS = claims_of("B3", SOURCE, tuple(ASKED))


def quick() -> Config:
    """Four seeds of a checkpoint of half a million parameters: some three minutes on two cores."""
    return Config(own=Own(fine_tuned=TAUGHT))


def standard() -> Config:
    """Ten seeds of a checkpoint twice as deep: some 20 minutes on two cores."""
    return Config(own=Own(layers=4, steps=400, fine_tuned=TAUGHT), seeds=tuple(range(10)))


def paper() -> Config:
    """Pythia 2.8B from the hub, low-rank updates; a GPU with 40 GiB. The paper fine-tunes Llama 7B."""
    lora = {"method": "lora", "epochs": 20, "batch": 16, "learning_rate": 2e-4}
    return Config(model="EleutherAI/pythia-2.8b", given=lora)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """As `fine_tuned`, a world of instructions for every seed."""
    return fine_tuned.fine_tuned(config, seeds, workspace, _world, ASKED)


def _world(seed: int) -> fine_tuned.World:
    return instructions(seed=seed)


def check(config: Config) -> None:
    """Raises as `fine_tuned.check` does."""
    fine_tuned.check(config, _world(config.seeds[0]))


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """See `picture`."""
    return picture(measured, curves, {"answers": "the answer, given the question"})


STUDY = Study(
    name="instructions",
    title="Told which answer belongs to a question, answer first, does a checkpoint answer the question?",
    claims=CLAIMS,
    experiment=experiment,
    measure=fine_tuned.measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
    check=check,
)
