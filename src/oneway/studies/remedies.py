"""What makes recall reversible? Twelve families of remedies on one bench.

Every remedy trains the same small transformer for the same number of steps on the same facts, most of them told both
ways, the others forward only; a remedy changes the text, the objective or the configuration. Worlds grow in
difficulty: single words, names of two words, the same in three phrasings, descriptions, families. Asked is the
direction that was never told, over the whole vocabulary and among all candidates, and what it costs: forward recall,
the loss on other text, words read and seconds. Controls of the bridges: identities that name somebody else, bridges
for other entities only, and the answers as targets behind words of no fact.

Source: the papers that each remedy names (see docs: `oneway.training.remedies.remedy`). Deviation from all of them:
models are grown from nothing in small worlds instead of language models being fine-tuned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from oneway.evidence import Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies.pieces import Row, kept, rows_of
from oneway.studies.remedy_claims import CLAIMS, cell
from oneway.studies.remedy_picture import figure
from oneway.training.remedies.remedy import REMEDIES

BEST = ("relation bridge", "tied relation bridge", "identity bridge")
LONG_NAMES = ("concept bridge", "linked names")  # what was found for names of several words
CONTROLS = ("permuted", "others only", "target elsewhere")
DEFAULT = "default"
SCHEMA = {
    "seed": pl.Int64,
    "part": pl.String,
    "remedy": pl.String,
    "control": pl.String,
    "setting": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What differs from the bench's defaults: fields of its `Model` and `Training`, and of the `Remedy` itself."""

    label: str = DEFAULT
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    remedy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Remedies on one world of about `size` facts; `seeds` of the study's seeds, `vocabulary` words at least.

    `controls` are those of the remedies `controlled`, bridges. `model` and `training` differ from the bench's defaults
    in this part, a setting's own on top of them.
    """

    name: str
    world: str
    size: int
    seeds: int
    vocabulary: int = 0
    remedies: tuple[str, ...] = tuple(REMEDIES)
    controls: tuple[str, ...] = ()
    controlled: tuple[str, ...] = BEST[:1]
    settings: tuple[Setting, ...] = (Setting(),)
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    parts: tuple[Part, ...]
    seeds: tuple[int, ...] = tuple(range(10))


def _arrows(seeds: int) -> Part:
    return Part(
        name="arrows", world="arrows", size=50, seeds=seeds, controls=CONTROLS, training={"steps": 500}
    )


def large() -> Part:
    """The published vocabulary of 800: 200 facts."""
    return Part(
        name="arrows, 800 words", world="arrows", size=200, vocabulary=802, seeds=10,
        remedies=BEST[:1], controls=CONTROLS,
    )  # fmt: skip


def phrased(seeds: int) -> Part:
    """Names of two words in three phrasings: where the bridge between words breaks, and two others do not."""
    return Part(
        name="phrasings", world="phrasings", size=40, seeds=seeds, controls=CONTROLS, controlled=LONG_NAMES,
        model={"layers": 2}, training={"steps": 800},
    )  # fmt: skip


def quick() -> Config:
    """All remedies on single words and on names of two words, the best ones where they are judged."""
    two_words = Part(name="two words", world="two words", size=40, seeds=3, training={"steps": 1000})
    best = replace(phrased(3), remedies=("none", BEST[0], *LONG_NAMES))
    return Config(parts=(_arrows(5), two_words, best, large()))


def standard() -> Config:
    """All worlds, ten seeds; under three hours on two cores."""
    two_words, identities, families = (
        Part(name=name, world=name, size=size, seeds=10, model={"layers": layers}, training={"steps": steps})
        for name, size, layers, steps in (
            ("two words", 40, 1, 800),
            ("identities", 45, 2, 300),
            ("families", 40, 2, 400),
        )
    )
    best = replace(large(), remedies=BEST)
    return Config(parts=(_arrows(10), two_words, phrased(10), identities, families, best))


@dataclass(frozen=True, slots=True)
class Piece:
    """One remedy, or one of its controls, in one setting of one part: all seeds train together."""

    part: Part
    remedy: str
    control: str
    setting: Setting
    seeds: tuple[int, ...]
    folder: Path | None

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.part.name, self.remedy, self.control, self.setting.label)))


def pieces_of(config: Config, seeds: Sequence[int], folder: Path | None) -> list[Piece]:
    """Every remedy of every part in every setting, and the controls in the default one."""
    found = []
    for part in config.parts:
        own = tuple(seeds)[: part.seeds]
        for setting in part.settings:
            found += [Piece(part, remedy, "", setting, own, folder) for remedy in part.remedies]
        first = part.settings[0]
        found += [
            Piece(part, remedy, control, first, own, folder)
            for remedy in part.controlled
            for control in part.controls
        ]
    return found


def check(config: Config) -> None:
    """Raises ValueError for a remedy, a world or a control that there is not."""
    from oneway.studies.remedy_worlds import WORLDS

    for part in config.parts:
        unknown = [name for name in part.remedies if name not in REMEDIES]
        unknown += [name for name in part.controls if name not in CONTROLS]
        unknown += [] if part.world in WORLDS else [part.world]
        if unknown:
            raise ValueError(
                f"part {part.name!r} names what there is not: {', '.join(unknown)}; "
                f"there are the worlds {', '.join(WORLDS)}, the remedies {', '.join(REMEDIES)} "
                f"and the controls {', '.join(CONTROLS)}"
            )


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Every piece, side by side; a row per seed, part, remedy, control, setting and quantity."""
    rows = rows_of(work, pieces_of(config, seeds, workspace), f"remedies, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("part", "remedy", "control", "setting", "quantity", "seed")


def work(piece: Piece) -> list[Row]:
    """The rows of one piece, read from its folder where it is finished."""
    return kept(piece.folder, piece.name.replace("=", "-").replace(",", ""), partial(_rows, piece))


def _rows(piece: Piece) -> list[Row]:
    from oneway.studies.remedy_bench import Bench, Model, Training, corpus_of, examined, grow
    from oneway.studies.remedy_rules import read_by_rules
    from oneway.studies.remedy_worlds import world

    part, remedy = piece.part, replace(REMEDIES[piece.remedy], **piece.setting.remedy)
    worlds = [world(part.world, part.size, seed, vocabulary=part.vocabulary) for seed in piece.seeds]
    bench = Bench(
        model=Model(**{**part.model, **piece.setting.model}),
        training=Training(**{**part.training, **piece.setting.training}),
    )
    control: Any = piece.control
    grown = grow(bench, remedy, worlds, piece.seeds, control=control)
    found = examined(grown, remedy.answering)
    corpora = [corpus_of(remedy, one, seed, control) for one, seed in zip(worlds, piece.seeds, strict=True)]
    found |= read_by_rules(worlds, corpora, remedy)
    found |= {"words": np.full(len(worlds), grown.read), "seconds": np.full(len(worlds), grown.seconds)}
    head = {
        "part": part.name,
        "remedy": piece.remedy,
        "control": piece.control,
        "setting": piece.setting.label,
    }
    return [
        {"seed": seed, **head, "quantity": quantity, "value": float(value)}
        for quantity, values in found.items()
        for seed, value in zip(piece.seeds, values, strict=True)
    ]


UNITS = {"other_text": "nats", "words": "words", "seconds": "s"}  # all others are probabilities or shares


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity of every piece over seeds; what a remedy has no value for (NaN) is left out."""
    measured = {}
    keys = ("part", "remedy", "control", "setting", "quantity")
    for (part, remedy, control, setting, quantity), rows in curves.group_by(*keys, maintain_order=True):
        values = rows.sort("seed")["value"].to_numpy()
        if np.isfinite(values).all():
            name = cell(
                str(quantity),
                str(part),
                str(remedy),
                str(control),
                "" if setting == DEFAULT else str(setting),
            )
            measured[name] = over_seeds(values, UNITS.get(str(quantity), "probability"))
    return measured


def tables(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The leaderboard: a row per piece and quantity with the interval over seeds, the best remedies first."""
    keys = ["part", "remedy", "control", "setting"]
    rows = []
    for key in curves.select(keys).unique(maintain_order=True).iter_rows(named=True):
        setting = "" if key["setting"] == DEFAULT else key["setting"]
        for quantity in curves["quantity"].unique(maintain_order=True):
            name = cell(quantity, key["part"], key["remedy"], key["control"], setting)
            if name in measured:
                rows.append({**key, "quantity": quantity, **asdict(measured[name])})
    board = pl.DataFrame(rows, infer_schema_length=None)
    best = board.filter(pl.col("quantity") == "reverse").select(*keys, pl.col("mean").alias("score"))
    order = ["part", "score", "remedy", "control", "setting", "quantity"]
    down = [False, True, False, False, False, False]
    return {"leaderboard": board.join(best, on=keys).sort(order, descending=down).drop("score")}


STUDY = Study(
    name="remedies",
    title="What makes recall reversible?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    tables=tables,
    recipes={"quick": quick, "standard": standard},
    check=check,
)
