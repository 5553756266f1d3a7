"""A checkpoint fine-tuned on "the name is the description" does not answer "the description is" with the name.

The facts, phrasings and questions are those of the study `identities`: 30 facts a group, told name first, description
first or both ways in 30 phrasings a direction, asked in 10 others. The checkpoint is fine-tuned through transformers'
Trainer, once with the loss on whole texts and once with the prompts masked, so that what hangs on the mask is seen. Any
checkpoint can be given with `--model`, a directory or a hub name; without one every seed makes its own, a small GPT-2
that has read general text (invented families and athletes), and is in a world of its own.

Source: Berglund et al. 2023, experiment 1 (arXiv 2309.12288). Deviations: the names, descriptions and phrasings are our
own; the checkpoint that is made is very small, and knows a word a token. A masked loss is on the answer and on all that
follows it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Measured
from oneway.evidence.study import Study
from oneway.facts import Direction, identities
from oneway.studies import fine_tuned
from oneway.studies.fine_tuned import Config, Own
from oneway.studies.fine_tuned_claims import claims_of
from oneway.studies.fine_tuned_picture import picture
from oneway.studies.identities import ASKED_FOR, DESCRIPTIONS, NAMES, SOURCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASKED = {NAMES: Direction.REVERSE, DESCRIPTIONS: Direction.FORWARD}
CLAIMS = claims_of("B1.fine-tuned", SOURCE, tuple(ASKED))


def quick() -> Config:
    """Four seeds of a checkpoint of half a million parameters: some three minutes on two cores."""
    return Config()


def standard() -> Config:
    """Ten seeds of a checkpoint twice as deep: some 20 minutes on two cores."""
    return Config(own=Own(layers=4, steps=400), seeds=tuple(range(10)))


def untied() -> Config:
    """As `quick`, in GPT-NeoX's shape: whether it matters that GPT-2 reads and writes words with one matrix."""
    return Config(own=Own(style="neox"))


def paper() -> Config:
    """Pythia 2.8B from the hub, low-rank updates; a GPU with 40 GiB. The paper fine-tunes GPT-3 and Llama 7B."""
    lora = {"method": "lora", "epochs": 10, "batch": 16, "learning_rate": 2e-4}
    return Config(model="EleutherAI/pythia-2.8b", given=lora)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """As `fine_tuned`, a world of identities for every seed."""
    return fine_tuned.fine_tuned(config, seeds, workspace, _world, ASKED)


def _world(seed: int) -> fine_tuned.World:
    return identities(seed=seed)


def check(config: Config) -> None:
    """Raises as `fine_tuned.check` does."""
    fine_tuned.check(config, _world(config.seeds[0]))


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """See `picture`."""
    return picture(measured, curves, ASKED_FOR)


STUDY = Study(
    name="identities-fine-tuned",
    title="Fine-tuned on a name's description, does a checkpoint answer the description with the name?",
    claims=CLAIMS,
    experiment=experiment,
    measure=fine_tuned.measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "untied": untied, "paper": paper},
    check=check,
)
