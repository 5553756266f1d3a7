"""Where entities share a token, A i → B i and B i → C i, the held-out conclusions A i ⇝ C i are known.

The study `chain` with entities of two tokens, a letter and an index. In the world "related" the three entities of a
triple have one index: conclusions of other triples show that ⇝ keeps it. In the world "unrelated", the control, B and C
have the indices in random orders: the same tokens, sentences and numbers of them, and nothing to generalise over.

Source: Zhu et al. 2024, section 5.2 and the appendix on related tokens (arXiv 2405.04669). Deviations: as in `chain`;
one letter for each of x, y and z; the unrelated world is ours (the paper compares with entities of one token).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Claim, Measured
from oneway.evidence.study import Study
from oneway.facts.related_chains import Indices, RelatedChains, related_chains
from oneway.studies.implication import Arm, curves_of, draw, measured_in
from oneway.studies.sentence_training import Decoder, Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Zhu et al. 2024, section 5.2 and appendix on related tokens (arXiv 2405.04669)"
WORLDS: dict[str, Indices] = {"related": "shared", "unrelated": "shuffled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`vocabulary` as in the study `chain`: a quarter of it are indices."""

    vocabulary: int = 800
    decoder: Decoder = field(default_factory=Decoder)
    schedule: Schedule = field(default_factory=Schedule)
    seeds: tuple[int, ...] = tuple(range(10))
    device: str = "cpu"


def quick() -> Config:
    """Twenty-five indices, every sentence in every step: seconds.

    Batches of 64 leave a last one of four sentences, which at a constant rate undoes what was learnt.
    """
    return Config(
        vocabulary=100,
        seeds=tuple(range(10, 20)),  # with 260 epochs the seeds 0–9 had not all learnt the control
        decoder=Decoder(width=64),
        schedule=Schedule(epochs=340, batch=68, learning_rate=0.005, evaluations=13),
    )


def standard() -> Config:
    """Two layers of width 128, some minutes on two cores."""
    return Config(
        decoder=Decoder(layers=2, width=128),
        schedule=Schedule(epochs=200, learning_rate=0.002, seeds_at_once=5),
    )


def paper() -> Config:
    """The published default: 24 layers of width 768, 3,000 epochs; a GPU."""
    return Config(
        decoder=Decoder(layers=24, width=768, heads=12),
        schedule=Schedule(epochs=3000, learning_rate=0.01, seeds_at_once=1, evaluations=120),
    )


_TRAINED = ("related_trained_conclusions", "unrelated_trained_conclusions")
CLAIMS = (
    Claim(
        id="Z5.related",
        text="Where the entities of a triple share an index token, the model knows the held-out conclusions.",
        source=SOURCE,
        rule="Control: lower bound of the answer's probability above 0.99 for trained conclusions. Supports: lower "
        "bound of the mean probability of held-out conclusions at or above 0.95. Refutes: its upper bound is below "
        "0.95.",
        control=lambda m: m[_TRAINED[0]].low > 0.99,
        supports=lambda m: m["related_validation_probability"].low >= 0.95,
        refutes=lambda m: m["related_validation_probability"].high < 0.95,
        reads=(_TRAINED[0], "related_validation_probability", "related_validation_nll"),
    ),
    Claim(
        id="Z5.unrelated",
        text="It is the shared index that does it: with the same tokens and indices in random orders the held-out "
        "conclusions are not known.",
        source=f"{SOURCE}; the control is ours",
        rule="Control: as Z5.related, in both worlds. Supports: interval of (share of held-out conclusions whose "
        "index is ranked first among the indices − chance) reaches down to 0 or below and stays under 0.05. Refutes: "
        "its lower bound is above 0.05.",
        control=lambda m: all(m[name].low > 0.99 for name in _TRAINED),
        supports=lambda m: (
            m["unrelated_validation_accuracy_over_chance"].low <= 0
            and m["unrelated_validation_accuracy_over_chance"].high < 0.05
        ),
        refutes=lambda m: m["unrelated_validation_accuracy_over_chance"].low > 0.05,
        reads=(*_TRAINED, "unrelated_validation_accuracy_over_chance", "unrelated_validation_probability"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed in both worlds; a row per seed, epoch, world and quantity."""
    arms = [
        Arm(name=name, world=partial(_world, config.vocabulary, indices)) for name, indices in WORLDS.items()
    ]
    return curves_of(arms, config.decoder, config.schedule, seeds, workspace, config.device)


def _world(vocabulary: int, indices: Indices, seed: int) -> RelatedChains:
    return related_chains(vocabulary, seed=seed, indices=indices)


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity of both worlds at the last epoch, over seeds."""
    return {f"{w}_{name}": value for w in WORLDS for name, value in measured_in(curves, w).items()}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Probability of trained and of held-out conclusions through training, in both worlds."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    lines = (
        ("trained_conclusions", "trained conclusions", DIRECTIONS["forward"].light),
        ("validation_probability", "held-out conclusions", DIRECTIONS["reverse"].light),
    )
    titles = {"related": "One index for A, B and C", "unrelated": "Indices in random orders"}
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, world in zip(drawn.subplots(1, 2, sharey=True), WORLDS, strict=True):
        draw(axes, curves, world, lines)
        axes.set(ylim=(-0.02, 1.02))
        axes.set_title(titles[world], loc="left")
        if world == "related":
            axes.set_ylabel("probability of the whole answer")
        else:
            axes.legend(frameon=False)
    return drawn


STUDY = Study(
    name="related-tokens",
    title="Does a chain's conclusion follow where its entities share a token?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
