"""Trained on A→B and B→C, a transformer does not know A⇝C, though it can walk there in two steps.

Sentences `x → y`, `y → z` and `x ⇝ z` of one-token entities. For 70% of the triples all three are trained; for the
others the two premises only, and their conclusions are the question.

Source: Zhu et al. 2024, section 5.2 (arXiv 2405.04669). Deviations from the published code are those of the study
`reversal`: embeddings tied, no dropout, everything measured after the step and over all sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Claim, Measured
from oneway.evidence.study import Study
from oneway.facts.chains import chains
from oneway.studies.implication import Arm, curves_of, draw, measured_in
from oneway.studies.sentence_training import Decoder, Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE = "Zhu et al. 2024, section 5.2 (arXiv 2405.04669)"
WORLD = "chains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`vocabulary` counts the tokens besides the two relations."""

    vocabulary: int = 800
    decoder: Decoder = field(default_factory=Decoder)
    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=130, learning_rate=0.007, evaluations=13)
    )
    seeds: tuple[int, ...] = tuple(range(10))
    device: str = "cpu"


def quick() -> Config:
    """All of the data at the published vocabulary, in a model as small as it can be: seconds."""
    return Config()


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


CLAIMS = (
    Claim(
        id="Z5",
        text="Trained on both premises, the model predicts their conclusion no better than by uniform guessing over "
        "the vocabulary.",
        source=SOURCE,
        rule="Control: lower bound of the answer's probability above 0.99 for trained conclusions. Supports: lower "
        "bound of the probability of the held-out conclusions' premises above 0.99, and lower bound of the held-out "
        "NLL at or above ln(vocabulary). Refutes: upper bound of that NLL below ln(vocabulary).",
        control=lambda m: m["trained_conclusions"].low > 0.99,
        supports=lambda m: m["premises"].low > 0.99 and m["validation_excess"].low >= 0,
        refutes=lambda m: m["validation_excess"].high < 0,
        reads=("trained_conclusions", "premises", "validation_nll", "validation_excess"),
    ),
    Claim(
        id="Z5.right-type",
        text="Even told that the conclusion ends on a token of z's alphabet, the model picks the right one no more "
        "often than chance.",
        source=f"{SOURCE}; our stricter reading",
        rule="Control: as Z5. Supports: interval of (share right − chance) reaches down to 0 or below and stays "
        "under 0.05. Refutes: its lower bound is above 0.05.",
        control=lambda m: m["trained_conclusions"].low > 0.99,
        supports=lambda m: (
            m["validation_accuracy_over_chance"].low <= 0 and m["validation_accuracy_over_chance"].high < 0.05
        ),
        refutes=lambda m: m["validation_accuracy_over_chance"].low > 0.05,
        reads=("trained_conclusions", "validation_accuracy_over_chance"),
    ),
    Claim(
        id="Z5.rollout",
        text="Written out in two steps, x→y and then y→z, the same model gets to z for the triples whose conclusion "
        "it does not know.",
        source=SOURCE,
        rule="Control: lower bound of the probability of the premises above 0.99. Supports: lower bound of the share "
        "of held-out triples whose two steps end at z at or above 0.95. Refutes: its upper bound is below 0.95.",
        control=lambda m: m["premises"].low > 0.99,
        supports=lambda m: m["rollout"].low >= 0.95,
        refutes=lambda m: m["rollout"].high < 0.95,
        reads=("premises", "rollout"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed on its own chains; a row per seed, epoch and quantity."""
    arm = Arm(name=WORLD, world=lambda seed: chains(config.vocabulary, seed=seed))
    return curves_of([arm], config.decoder, config.schedule, seeds, workspace, config.device)


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity at the last epoch, over seeds."""
    return measured_in(curves, WORLD)


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Left, loss of trained sentences and of held-out conclusions; right, what the two steps get right."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    blue, orange, green = (DIRECTIONS[name].light for name in ("forward", "reverse", "in_context"))
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    loss, share = drawn.subplots(1, 2)
    guess = measured["validation_nll"].mean - measured["validation_excess"].mean
    draw(
        loss,
        curves,
        WORLD,
        (
            ("validation_nll", "held-out conclusions", orange),
            ("train_nll", "trained sentences", blue),
        ),
    )
    loss.axhline(guess, color="0.35", linestyle="--", label=f"uniform guess, ln V = {guess:.2f}")
    loss.set(ylabel="−ln p(answer), nats", ylim=(0, None))
    loss.set_title("Loss", loc="left")
    draw(
        share,
        curves,
        WORLD,
        (
            ("rollout", "held-out triples, two steps written out", green),
            ("trained_conclusions", "p(trained conclusions)", blue),
            ("validation_probability", "p(held-out conclusions)", orange),
        ),
    )
    share.set(ylabel="share or probability", ylim=(-0.02, 1.02))
    share.set_title("Premises are known, the conclusion is not", loc="left")
    loss.legend(frameon=False)
    share.legend(frameon=False)
    return drawn


STUDY = Study(
    name="chain",
    title="Does a transformer trained on A→B and B→C know that A leads to C?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
