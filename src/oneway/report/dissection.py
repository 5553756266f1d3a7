"""What a dissection shows: hypotheses, the picture of a circuit, one fact's path, and a section for every step.

Plain containers: whoever measured fills them, the page and the printed picture read them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from oneway.evidence import atomic
from oneway.report.circuit_layout import layout
from oneway.report.columns import packed, packed_array

DISSECTION = "dissection.json"
HYPOTHESES = ("hypothesis", "test", "predicted", "measured", "low", "high", "agrees")
NODES = ("id", "place", "layer", "kind", "head", "role", "effect", "low", "high")
ARROWS = ("source", "target", "effect", "low", "high", "what")
UNITS = ("kind", "layer", "index", "place", "effect", "fires_on", "share", "writes_answers", "writes_words")
FACTS = ("subject", "answer", "said", "probability")
NEURONS = ("fact", "layer", "neuron", "activation", "effect", "writes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """How a section's table is drawn: which column goes where.

    * bars: a bar per `x` (text or number) of height `y`; `series` puts several side by side.
    * lines: `y` over a numeric `x`, a line per text of `series`, the interval as a band.
    * points: a point per row; with a `name`, the pointer says it.
    * heat: a cell per pair of `x` and `y`, coloured by `value`.

    `low` and `high` are the columns of the interval, `panel` that of small multiples, `reference` a level that is drawn
    across (chance, say), `x_title` and `y_title` what the axes say (default: the columns' names).
    """

    kind: Literal["bars", "lines", "points", "heat"]
    x: str
    y: str
    value: str | None = None
    low: str | None = None
    high: str | None = None
    series: str | None = None
    panel: str | None = None
    name: str | None = None
    reference: float | None = None
    x_title: str = ""
    y_title: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(c for c in (*self.numbers, self.x, self.y, self.series, self.panel, self.name) if c)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that must hold numbers."""
        of_kind = {"heat": (self.value,), "lines": (self.x, self.y)}
        return tuple(c for c in (*of_kind.get(self.kind, (self.y,)), self.low, self.high) if c)

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One step of a dissection: its claims' verdicts, two sentences for someone new to it, a chart and the numbers.

    `id` is the identifier of the step (F9, N1.parts): the page finds the claims of the record whose id is this one, or
    begins with it and a full stop. Raises ValueError where a chart names a column that the table does not have, or
    draws one that holds no numbers.
    """

    id: str
    title: str
    text: str
    table: pl.DataFrame
    charts: tuple[Chart, ...] = ()

    def __post_init__(self) -> None:
        for chart in self.charts:
            _check(self.table, chart.columns, f"section {self.id}: the table")
            if chart.kind == "heat" and chart.value is None:
                raise ValueError(f"section {self.id}: a heat map needs the column of its colours, `value`")
            words = [name for name in chart.numbers if not self.table.schema[name].is_numeric()]
            if words:
                raise ValueError(
                    f"section {self.id}: {', '.join(words)} cannot be drawn, since they hold no numbers"
                )

    def to_dict(self) -> dict[str, Any]:
        charts = [chart.to_dict() for chart in self.charts]
        return {
            "id": self.id,
            "title": self.title,
            "text": self.text,
            "table": packed(self.table),
            "charts": charts,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """What carries facts from the name to the answer: positions across, layers up.

    `places`: the groups of positions from left to right. `nodes`, one row a component, with the columns
    `id` (a text of its own), `place`, `layer`, `kind` (head | MLP), `head` (null for an MLP), `role` (a sentence),
    `effect, low, high`: its mean effect in `unit` with the interval over facts. `arrows`, one row an arrow: `source`
    and `target` are ids of nodes or places, or "answer"; `effect, low, high` as above; `what` says it in words.
    `tokens`: what stands at each place in one prompt. `notes` say by which rule these were chosen, and how many were
    left out. Raises ValueError where a column is missing, a node stands nowhere or an
    arrow ends nowhere.
    """

    places: tuple[str, ...]
    tokens: tuple[str, ...]
    layers: int
    nodes: pl.DataFrame
    arrows: pl.DataFrame
    notes: tuple[str, ...]
    unit: str = "logits"

    def __post_init__(self) -> None:
        _check(self.nodes, NODES, "the nodes")
        _check(self.arrows, ARROWS, "the arrows")
        ends = {*self.nodes["id"], *self.places, "answer"}
        stray = {*self.arrows["source"], *self.arrows["target"]} - ends
        if stray:
            raise ValueError(
                f"arrows begin or end at what is neither node nor place: {', '.join(sorted(stray))}"
            )
        outside = self.nodes.filter(
            ~pl.col("place").is_in(self.places) | ~pl.col("layer").is_between(0, self.layers - 1)
        )
        if not outside.is_empty():
            raise ValueError(f"nodes stand at no place or layer of the circuit: {', '.join(outside['id'])}")

    def to_dict(self) -> dict[str, Any]:
        return {
            "places": list(self.places),
            "tokens": list(self.tokens),
            "layers": self.layers,
            "nodes": packed(self.nodes),
            "arrows": packed(self.arrows),
            "notes": list(self.notes),
            "unit": self.unit,
            "layout": layout(self.places, self.layers, self.nodes).to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactPaths:
    """Every fact's way through the model, for the picker: the same rows in all that follows.

    `facts` has the columns `subject, answer, said` (the likeliest of the answers), `probability` (of the right one,
    over the whole vocabulary). Of each fact a few answers are `shown` (numbers of `answers`; the right one first).
    `weights` and `trained`: what a probe made of weights (scores, in logits) and a trained one (probabilities) say of
    them after the embedding and after every layer. `attention`: of the heads in `heads` (their names) to each place.
    `effects`: of each node of the circuit for this fact. `neurons`: its strongest, with the columns `fact` (a row
    number), `layer, neuron, activation, effect` (in `unit`) and `writes` (the answer that it raises most).
    """

    facts: pl.DataFrame
    answers: tuple[str, ...]
    shown: Int[np.ndarray, "fact shown"]
    weights: Float[np.ndarray, "fact depth shown"]
    trained: Float[np.ndarray, "fact depth shown"]
    heads: tuple[str, ...]
    attention: Float[np.ndarray, "fact head place"]
    effects: Float[np.ndarray, "fact node"]
    neurons: pl.DataFrame
    unit: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.facts, FACTS, "the facts")
        _check(self.neurons, NEURONS, "the neurons")

    def to_dict(self) -> dict[str, Any]:
        arrays = ("shown", "weights", "trained", "attention", "effects")
        return {
            "facts": packed(self.facts),
            "answers": list(self.answers),
            "heads": list(self.heads),
            **{name: packed_array(getattr(self, name)) for name in arrays},
            "neurons": packed(self.neurons),
            "unit": self.unit,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One group of facts in one model: its circuit, every fact's path, and the strongest neurons and heads.

    `units`, one row a neuron or head, has the columns `kind` (neuron | head), `layer`, `index`, `place`, `effect`,
    `fires_on` (the facts on which it acts most), `share` (what these have in common, in words), `writes_answers` and
    `writes_words` (what it raises most). `title` tells pictures apart ("names of 2 tokens, 612 facts").
    """

    title: str
    circuit: Circuit
    paths: FactPaths
    units: pl.DataFrame

    def __post_init__(self) -> None:
        _check(self.units, UNITS, "the neurons and heads")

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "circuit": self.circuit.to_dict(),
            "paths": self.paths.to_dict(),
            "units": packed(self.units),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dissection:
    """What the page shows of a dissection, in the order in which it is read.

    `asked` and `found` are a sentence each. `hypotheses`: one row a hypothesis and test, with the columns `hypothesis`,
    `test`, `predicted` (in words), `measured, low, high` (numbers), `agrees` (truth, null where the test does not
    tell); `standing` is one sentence a hypothesis: what became of it. Raises ValueError where a column is missing.
    """

    asked: str
    found: str
    hypotheses: pl.DataFrame
    standing: Mapping[str, str]
    pictures: tuple[Picture, ...]
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        _check(self.hypotheses, HYPOTHESES, "the hypotheses")

    def content(self) -> dict[str, Any]:
        """As JSON holds it: what `Run.dissection` takes and `dissection.json` keeps."""
        return {
            "asked": self.asked,
            "found": self.found,
            "hypotheses": packed(self.hypotheses),
            "standing": dict(self.standing),
            "pictures": [picture.to_dict() for picture in self.pictures],
            "sections": [section.to_dict() for section in self.sections],
        }


def save_dissection(dissection: Dissection | Mapping[str, Any], directory: Path | str) -> Path:
    """Write a dissection, or its content, as `dissection.json` into a run's folder.

    Raises WriteError where it cannot be written.
    """
    content = dissection.content() if isinstance(dissection, Dissection) else dissection
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return atomic.write_text(Path(directory) / DISSECTION, text)


def read_dissection(directory: Path | str) -> dict[str, Any] | None:
    """The content of a run's `dissection.json`; None where there is none. Raises ValueError where it is not one."""
    path = Path(directory) / DISSECTION
    if not path.is_file():
        return None

    def refused(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refused)
    except ValueError as error:
        raise ValueError(f"{path} is not a dissection: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a dissection: it is not a JSON object")
    return content


def _check(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{what} lacks the column {', '.join(missing)}; it has: {', '.join(table.columns) or 'none'}"
        )
