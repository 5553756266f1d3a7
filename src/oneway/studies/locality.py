"""How much of what early layers compute on a token is decided by the last few tokens?

The residual stream on a token in its full context is compared with that in a context cut to the last k tokens, k = 1 to
10, behind a BOS: cosine after the layer's mean is taken off. "The first third" is layer 10 of 32, or what corresponds
to it. Chance is the stream of another token of the same class, and the same token behind other tokens. Every seed
grows the default model in small (see `oneway.studies.small_model`), 200 people and 4 layers, in a world of its own, and
reads prose about it, in passages of 31 tokens; the same model before its first step is measured too. With `--model` and
`--text` any checkpoint is measured on any text file instead; each seed is then a part of the text, whose passages are
dealt in turn, and intervals are over the parts.

Source: Nanda, Rajamanoharan, Kramár, Shah 2023, Fact Finding, post 5. Deviations: Pythia 2.8B
there (the recipe `paper` asks for a text); a small model, prose about invented people and one token a word here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies.pieces import Row, kept, rows_of
from oneway.studies.small_model import WHOLE, Small, prepare_small, prose, save_untaught, small_world

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.anatomy.locality import Cuts

SOURCE = "Fact Finding (Nanda et al. 2023), post 5"
TAUGHT, UNTAUGHT = "taught", "untaught"
FEW, THIRD = "5", 10 / 32  # tokens of a context; of the layers
LOW = "punctuation and common words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is read: with a `model` (a directory or a hub name) and a `text` (a file) these; else what is grown.

    `longest` and `passage` are those of `Cuts`; `sentences` are those of a grown model's text.
    """

    model: str = ""
    text: str = ""
    device: str = "cpu"
    small: Small = field(default_factory=Small)
    sentences: int = 1000
    longest: int = 10
    passage: int = 128
    seeds: tuple[int, ...] = (0, 1, 2)


def quick() -> Config:
    """Three seeds of a small model: under a minute on one core."""
    return Config()


def standard() -> Config:
    """Ten seeds, four times the text."""
    return Config(seeds=tuple(range(10)), sentences=4000)


def default_model() -> Config:
    """Three seeds of the default model itself: some seven minutes on one core."""
    return Config(small=WHOLE, sentences=4000)


def paper() -> Config:
    """Pythia 2.8B on a text that is given with `--text`, in ten parts. A GPU with 24 GiB."""
    return Config(model="EleutherAI/pythia-2.8b", seeds=tuple(range(10)))


def check(config: Config) -> None:
    """Raises ValueError where a model is given without a text or a text without a model, or the text is no file."""
    if bool(config.model) != bool(config.text):
        raise ValueError("give both --model and --text, or neither: then a small model is grown")
    if config.text and not Path(config.text).is_file():
        raise ValueError(f"--text {config.text} is no file")


def _controlled(m: Measured) -> bool:
    return m["whole"].low > 0.999 and m["over_chance"].low > 0.1


CONTROL = (
    "Control: a token whose context is not cut has a cosine of 1 (lower bound of the least one above 0.999), and after "
    "layer 0 ten tokens of context are above another token of the same class by more than 0.1 (lower bound). "
)
CONTROLS = ("whole", "over_chance")

CLAIMS = (
    Claim(
        id="F18",
        text="The longer the way through the first third of the layers, the less the last five tokens decide.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: lower bound of the median cosine with five tokens after layer 0, less that after a third of the "
        "layers, above 0.05. Refutes: upper bound below 0.05.",
        control=_controlled,
        supports=lambda m: m["early_fall"].low > 0.05,
        refutes=lambda m: m["early_fall"].high < 0.05,
        reads=(*CONTROLS, "early_fall"),
    ),
    Claim(
        id="F18.flat",
        text="After the first third it falls no further, until the last layer.",
        source=SOURCE,
        rule=CONTROL
        + "And the whole fall, from layer 0 to the last layer but one, is above 0.05 (lower bound). Supports: lower "
        "bound of the fall in the first third less twice the fall after it above 0. Refutes: upper bound below 0.",
        control=lambda m: _controlled(m) and m["whole_fall"].low > 0.05,
        supports=lambda m: m["early_less_late"].low > 0,
        refutes=lambda m: m["early_less_late"].high < 0,
        reads=(*CONTROLS, "whole_fall", "early_less_late", "late_fall"),
    ),
    Claim(
        id="F18.near",
        text="Even after layer 0 five tokens of context give much more than the token alone.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: lower bound of the median cosine with five tokens less that with one, after layer 0, above 0.1. "
        "Refutes: upper bound below 0.1.",
        control=_controlled,
        supports=lambda m: m["near"].low > 0.1,
        refutes=lambda m: m["near"].high < 0.1,
        reads=(*CONTROLS, "near"),
    ),
    Claim(
        id="F18.tail",
        text="With five tokens most cosines are high and some are very low: a long tail downwards.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: after a third of the layers, lower bound of the way from the median to the 5th percentile less "
        "twice that to the 95th above 0. Refutes: upper bound below 0.",
        control=_controlled,
        supports=lambda m: m["tail"].low > 0,
        refutes=lambda m: m["tail"].high < 0,
        reads=(*CONTROLS, "tail"),
    ),
    Claim(
        id="F18.classes",
        text="Punctuation and common words depend more on what stands further back than other words do.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: after a third of the layers, lower bound of the median cosine with five tokens of alphabetic "
        "tokens that are no common words, less that of punctuation and common words, above 0.05. Refutes: upper bound "
        "below 0.05.",
        control=_controlled,
        supports=lambda m: m["classes"].low > 0.05,
        refutes=lambda m: m["classes"].high < 0.05,
        reads=(*CONTROLS, "classes"),
    ),
    Claim(
        id="F18.uptick",
        text="In the last layer the last five tokens decide more again.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: lower bound of the median cosine with five tokens after the last layer, less that after the last "
        "but one, above 0.01. Refutes: upper bound below 0.01.",
        control=_controlled,
        supports=lambda m: m["uptick"].low > 0.01,
        refutes=lambda m: m["uptick"].high < 0.01,
        reads=(*CONTROLS, "uptick"),
    ),
    Claim(
        id="F18.content",
        text="It is these five tokens that count, not that there are five: behind others a token's stream is another.",
        source=f"{SOURCE}; the control is ours",
        rule=CONTROL
        + "Supports: after a third of the layers, lower bound of the median cosine with the last five tokens, less "
        "that with the token behind four others, above 0.1. Refutes: upper bound below 0.1.",
        control=_controlled,
        supports=lambda m: m["over_shuffled"].low > 0.1,
        refutes=lambda m: m["over_shuffled"].high < 0.1,
        reads=(*CONTROLS, "over_shuffled"),
    ),
    Claim(
        id="F18.learnt",
        text="Depending on what stands further back is learnt: before training the last five tokens decide more.",
        source="ours: a model with random weights as the null",
        rule=CONTROL
        + "Supports: after a third of the layers, lower bound of the median cosine with five tokens before training, "
        "less that after it, above 0.05. Refutes: upper bound below 0.05. A model that is given has no such null.",
        control=_controlled,
        supports=lambda m: m["untaught_less_taught"].low > 0.05,
        refutes=lambda m: m["untaught_less_taught"].high < 0.05,
        reads=(*CONTROLS, "untaught_less_taught"),
    ),
)


def cuts_of(config: Config) -> "Cuts":
    """How contexts are cut."""
    from oneway.anatomy.locality import Cuts

    return Cuts(longest=config.longest, passage=config.passage, shuffled=int(FEW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed's model and text."""

    config: Config
    seed: int
    folder: Path


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """A row for each seed (or part of the text), model, layer, context and class of tokens.

    Raises ValueError without a workspace: a model is measured as the checkpoint that it was written to.
    """
    if config.model:
        return pl.DataFrame(given(config, seeds))
    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    pieces = [Piece(config=config, seed=seed, folder=workspace) for seed in seeds]
    rows = rows_of(work, pieces, f"locality, {len(seeds)} seeds")
    return pl.DataFrame(rows).sort("seed", "model", maintain_order=True)


def given(config: Config, seeds: Sequence[int]) -> list[Row]:
    """The model and the text that were given, in as many parts as there are seeds."""
    from oneway.anatomy.locality import measure_locality
    from oneway.engine import open_model

    opened = open_model(config.model, device=config.device)
    parts = measure_locality(opened, Path(config.text), cuts_of(config), parts=len(seeds), seed=seeds[0])
    return [
        row
        for seed, part in zip(seeds, parts, strict=True)
        for row in _rows(seed, TAUGHT, part.to_frame(), part.whole)
    ]


def work(piece: Piece) -> list[Row]:
    """One seed: its model is grown and reads its prose, taught and untaught."""
    return kept(piece.folder, f"seed-{piece.seed}", lambda: _grown(piece))


def _grown(piece: Piece) -> list[Row]:
    from oneway.anatomy.locality import measure_locality
    from oneway.engine import open_model
    from oneway.evidence.atomic import write_text
    from oneway.training.teach import follow

    config, seed, folder = piece.config, piece.seed, piece.folder / f"model-{piece.seed}"
    table = small_world(config.small, seed)
    course = prepare_small(config.small, table, seed)
    models = {
        UNTAUGHT: save_untaught(course, folder / UNTAUGHT),
        TAUGHT: follow(course, folder / TAUGHT).checkpoint,
    }
    text = folder / "prose.txt"
    write_text(text, " ".join(islice(prose(table, seed), config.sentences)))
    rows = list[Row]()
    for name, checkpoint in models.items():
        (found,) = measure_locality(open_model(checkpoint, device="cpu"), text, cuts_of(config), seed=seed)
        rows += _rows(seed, name, found.to_frame(), found.whole)
    return rows


def _rows(seed: int, model: str, frame: pl.DataFrame, whole: float) -> list[Row]:
    head = {"seed": seed, "model": model}
    return [{**head, **row, "whole": whole} for row in frame.iter_rows(named=True)]


def quantities(taught: pl.DataFrame) -> dict[str, float]:
    """What the claims read of one seed's (or part's) rows of the taught model; NaN where a class has no tokens."""
    layers = int(taught["layer"].max()) + 1  # type: ignore[arg-type]
    third = first_third(layers)
    longest = str(max(int(name) for name in taught["context"].unique() if name.isdigit()))

    def of(context: str, layer: int, kind: str = "all", column: str = "median") -> float:
        found = taught.filter(context=context, layer=layer, **{"class": kind})[column]
        return float(found.item()) if len(found) else float("nan")

    start, early, late = of(FEW, 0), of(FEW, third), of(FEW, layers - 2)
    return {
        "whole": float(taught["whole"].min()),  # type: ignore[arg-type]
        "over_chance": of(longest, 0) - of("another token", 0),
        "alone_after_layer_0": of("1", 0),
        "five_after_layer_0": start,
        "five_after_a_third": early,
        "five_after_last": of(FEW, layers - 1),
        "another_after_a_third": of("another token", third),
        "shuffled_after_a_third": of(f"shuffled {FEW}", third),
        "early_fall": start - early,
        "late_fall": early - late,
        "whole_fall": start - late,
        "early_less_late": (start - early) - 2 * (early - late),
        "near": start - of("1", 0),
        "tail": (early - of(FEW, third, column="p5")) - 2 * (of(FEW, third, column="p95") - early),
        "classes": of(FEW, third, "alphabetic") - of(FEW, third, LOW),
        "uptick": of(FEW, layers - 1) - late,
        "over_shuffled": early - of(f"shuffled {FEW}", third),
    }


def first_third(layers: int) -> int:
    """The layer that corresponds to layer 10 of 32."""
    return max(1, round(THIRD * layers))


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over seeds, or over the parts of a text."""
    by_seed = [
        quantities(curves.filter(seed=seed, model=TAUGHT))
        for seed in curves["seed"].unique(maintain_order=True)
    ]
    found = {name: over_seeds([one[name] for one in by_seed], "cosine") for name in by_seed[0]}
    third = first_third(int(curves["layer"].max()) + 1)  # type: ignore[arg-type]
    early = curves.filter(context=FEW, layer=third, **{"class": "all"}).sort("seed")
    taught, untaught = (early.filter(model=name)["median"].to_numpy() for name in (TAUGHT, UNTAUGHT))
    gaps = untaught - taught if len(untaught) else np.full(len(taught), np.nan)
    return found | {"untaught_less_taught": over_seeds(gaps, "cosine")}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Median cosines by layer and by class, and how the cosines with five tokens are spread; means over seeds."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CYCLE

    taught = curves.filter(model=TAUGHT)
    layers = int(taught["layer"].max()) + 1  # type: ignore[arg-type]
    third = first_third(layers)
    drawn = Figure(figsize=(13, 4.2), layout="constrained")
    by_layer, by_context, spread = drawn.subplots(1, 3)
    numbers = sorted({int(name) for name in taught["context"].unique() if name.isdigit()})

    def mean(column: str, by: str, **chosen: Any) -> tuple[list[Any], np.ndarray]:
        rows = taught.filter(**chosen).group_by(by, maintain_order=True).agg(pl.col(column).mean())
        return rows[by].to_list(), rows[column].to_numpy()

    of_all = {"class": "all"}
    for tone, number in zip(CYCLE, (n for n in (1, 2, 3, 5, 10) if n in numbers), strict=False):
        name = "the token alone" if number == 1 else f"last {number} tokens"
        by_layer.plot(
            *mean("median", "layer", context=str(number), **of_all), color=tone.light, marker="o", label=name
        )
    for style, name in (("--", f"shuffled {FEW}"), (":", "another token")):
        label = "last token, others before it" if style == "--" else "another token of its class"
        by_layer.plot(
            *mean("median", "layer", context=name, **of_all), color="0.4", linestyle=style, label=label
        )
    kinds = [
        k
        for k in ("full stop", "comma", "newline", "common word", "word", "word piece", "other")
        if k in taught["class"].unique().to_list()
    ]
    for tone, kind in zip(CYCLE, kinds, strict=False):
        heights = [
            mean("median", "layer", context=str(n), layer=third, **{"class": kind})[1][0] for n in numbers
        ]
        by_context.plot(numbers, heights, color=tone.light, marker="o", label=kind)
        shares = [name for name in taught.columns if name[0] == "p" and name[1:].isdigit()]
        values = [mean(name, "layer", context=FEW, layer=third, **{"class": kind})[1][0] for name in shares]
        spread.plot(values, [int(name[1:]) / 100 for name in shares], color=tone.light, label=kind)
    by_layer.set(xlabel="after layer", ylabel="median cosine with the full context")
    by_layer.xaxis.get_major_locator().set_params(integer=True)
    by_layer.set_title("Context cut to its end", loc="left")
    by_context.set(xlabel="tokens of context", ylabel="median cosine", xticks=numbers)
    by_context.set_title(f"By kind of token, after layer {third}", loc="left")
    spread.set(xlabel="cosine", ylabel="share of tokens below")
    spread.set_title(f"Last {FEW} tokens, after layer {third}", loc="left")
    for axes in (by_layer, by_context, spread):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return drawn


STUDY = Study(
    name="locality",
    title="How local is what early layers compute?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "default-model": default_model, "paper": paper},
    check=check,
)
