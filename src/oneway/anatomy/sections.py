"""The steps of a dissection for the reader: two sentences each, the table that answers, and how to draw it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl

from oneway.report import Chart, Section

Tables = Mapping[str, pl.DataFrame]
MOST_BARS = 14


@dataclass(frozen=True, slots=True)
class Shown:
    """How one step is shown: `of` makes the section's table from the steps' own; None where they found nothing."""

    id: str
    title: str
    text: str
    of: Callable[[Tables], pl.DataFrame | None]
    charts: tuple[Chart, ...]


def sections(tables: Tables) -> Iterator[Section]:
    """A section for every step that found something, in the order of the investigation."""
    for shown in SHOWN:
        table = shown.of(tables)
        if table is not None and not table.is_empty():
            yield Section(id=shown.id, title=shown.title, text=shown.text, table=table, charts=shown.charts)


def _whole(name: str) -> Callable[[Tables], pl.DataFrame | None]:
    return lambda tables: tables.get(name)


def _measures(name: str, measures: Mapping[str, str]) -> Callable[[Tables], pl.DataFrame | None]:
    """Some of the measures of an intervention table, in words."""

    def of(tables: Tables) -> pl.DataFrame | None:
        if name not in tables:
            return None
        kept = tables[name].filter(pl.col("measure").is_in(list(measures)))
        return kept.with_columns(pl.col("measure").replace_strict(measures, return_dtype=pl.String))

    return of


def _component() -> pl.Expr:
    """A component's name: head 16.20, MLP 5."""
    head = pl.format("head {}.{}", "layer", "head")
    return pl.when(pl.col("head").is_null()).then(pl.format("MLP {}", "layer")).otherwise(head)


def _components(name: str, **where: object) -> Callable[[Tables], pl.DataFrame | None]:
    """The strongest components of a table, with their names."""

    def of(tables: Tables) -> pl.DataFrame | None:
        if name not in tables:
            return None
        table = tables[name].filter(**where) if where else tables[name]
        named = table.with_columns(component=_component())
        return named.sort(pl.col("effect").abs(), descending=True).head(MOST_BARS)

    return of


def _reading(tables: Tables) -> pl.DataFrame | None:
    if "reading" not in tables:
        return None
    table = tables["reading"]
    first = table.row(0, named=True)
    own = table.filter(reader_layer=first["reader_layer"], reader_head=first["reader_head"])
    return _components("reading")({"reading": own})


def _looked(tables: Tables) -> pl.DataFrame | None:
    if "attention" not in tables:
        return None
    return tables["attention"].with_columns(component=_component())


def _parts(tables: Tables) -> pl.DataFrame | None:
    if "parts_of_names" not in tables:
        return None
    words = {"first": "the first part alone", "last": "the last part alone", "both": "both together only"}
    long = tables["parts_of_names"].unpivot(index="layer", variable_name="part", value_name="share")
    return long.with_columns(pl.col("part").replace_strict(words, return_dtype=pl.String))


def _text(name: str, *columns: str) -> Callable[[Tables], pl.DataFrame | None]:
    """A table whose numbers in some columns are names."""
    return lambda tables: (
        tables[name].with_columns(pl.col(column).cast(pl.String) for column in columns)
        if name in tables
        else None
    )


def _way(tables: Tables) -> pl.DataFrame | None:
    if "on_the_way" not in tables:
        return None
    words = {0: "output", 1: "next output", 2: "next-next output"}
    return tables["on_the_way"].with_columns(
        pl.col("said").replace_strict(words, return_dtype=pl.String),
        pl.format("position {}", "position").alias("position"),
    )


LEFT = {"among_answers": "right among the answers", "trained": "read by a trained probe"}
Bounded = partial(Chart, low="low", high="high")
LAYER = "layer (-1: the embedding)"

SHOWN = (
    Shown(
        "traps",
        "Where the lookup happens",
        "Before asking how a fact is looked up one has to know where. Each bar takes one thing away: if the "
        "answers survive it, that is not where they come from.",
        _measures("traps", LEFT),
        (Bounded(kind="bars", x="intervention", y="mean", series="measure", y_title="share of facts"),),
    ),
    Shown(
        "names",
        "Names of every length",
        "Names of one, two, three and more tokens need not be looked up alike, so each length is asked "
        "apart. The bars show what is left of the right answers when one thing is taken away.",
        _text("by_length", "name_tokens"),
        (
            Bounded(
                kind="bars",
                x="without",
                y="right",
                series="name_tokens",
                y_title="right among the answers",
            ),
        ),
    ),
    Shown(
        "F1",
        "What says the answer",
        "The direct effect of a component is what it adds itself, at the last word of the prompt, to the "
        "right answer over another one. In most models a handful of heads and the MLPs after them say it.",
        _components("components", path="direct"),
        (Bounded(kind="bars", x="component", y="effect", y_title="direct effect (logits)"),),
    ),
    Shown(
        "F2",
        "Where the heads that say it look",
        "A head can only move what it looks at. If those that say the answer look at the end of the name, "
        "the answer was already there.",
        _looked,
        (
            Bounded(
                kind="lines",
                x="key",
                y="attention",
                series="component",
                x_title="position in the prompt",
            ),
        ),
    ),
    Shown(
        "F3",
        "What they read there",
        "Each bar is what the first of these heads loses when one earlier component writes another "
        "athlete's value into what it reads at the end of the name. MLPs there are the lookup; another head "
        "would mean a relay.",
        _reading,
        (Bounded(kind="bars", x="component", y="effect", y_title="effect (logits)"),),
    ),
    Shown(
        "F4",
        "The answer read by weights alone",
        "The head's own weights and the unembedding make a classifier without any training. If it is as "
        "good as the model, the answer lies at the end of the name for anybody to read.",
        _whole("probes"),
        (
            Bounded(
                kind="bars",
                x="probe",
                y="accuracy",
            ),
        ),
    ),
    Shown(
        "F4.causal",
        "And what it reads is what the model uses",
        "Part of the end of the name is replaced by another athlete's. Where the model then gives that "
        "athlete's answer, the part is what it goes by.",
        _whole("swapped"),
        (Bounded(kind="bars", x="patched", y="follows", y_title="follows the other athlete"),),
    ),
    Shown(
        "F5",
        "How early it can be read",
        "A probe is trained on the end of the name after every layer and judged on athletes that it has not "
        "seen. A smooth early rise means that the lookup is done well before the answer is asked for.",
        _whole("by_layer"),
        (Bounded(kind="lines", x="layer", y="accuracy", x_title=LAYER),),
    ),
    Shown(
        "F6",
        "Without context",
        "The same on the name alone, with nothing before and behind it. What does not fall does not need "
        "the sentence.",
        _whole("without_context"),
        (Bounded(kind="lines", x="layer", y="accuracy", series="probe", x_title=LAYER),),
    ),
    Shown(
        "F7",
        "Attention on the name",
        "Attention at the end of the name is removed from some layer up. Where nothing is lost, everything "
        "that the lookup needs had been brought there before.",
        _measures("attention_removed", LEFT),
        (
            Bounded(
                kind="lines",
                x="from_layer",
                y="mean",
                series="measure",
                x_title="attention removed from layer",
            ),
        ),
    ),
    Shown(
        "F8",
        "The effective model",
        "A search takes away whatever the facts do without, one thing after the other. What is left at the "
        "end is the lookup; each point is the accuracy after one more step, on facts that the search did "
        "not choose by.",
        _whole("simplification"),
        (
            Chart(
                kind="points",
                x="number",
                y="held_out",
                name="step",
                x_title="steps",
                y_title="accuracy of the probe",
            ),
        ),
    ),
    Shown(
        "F9",
        "Paths between MLPs",
        "If one neuron did the whole lookup in one step, no MLP would have to read another. Each bar cuts "
        "the path from one MLP to another, and nothing else.",
        _measures("mlp_paths", {"probe": "read by the head's weights"}),
        (Bounded(kind="bars", x="intervention", y="mean", y_title="share of facts still read"),),
    ),
    Shown(
        "F10",
        "Neurons shared between facts",
        "Do the neurons that matter for an athlete's sport also matter for the birthplace? Each point is "
        "the correlation of all neurons' effects on two facts; the same fact in other words shows what a "
        "match looks like.",
        _whole("shared_neurons"),
        (Chart(kind="points", x="kind", y="correlation", name="entity"),),
    ),
    Shown(
        "F11",
        "Who makes the AND",
        "A first name and a surname together say more than the sum of both: that is an AND, and somebody "
        "must compute it. Each point is a name: how much of its AND was made by the neurons that write it, "
        "against all of it.",
        _whole("excess"),
        (
            Chart(
                kind="points",
                x="at_probe",
                y="made_by_neurons",
                x_title="AND at the probe",
                y_title="made by the neurons",
            ),
        ),
    ),
    Shown(
        "F12",
        "Neurons that tell an answer",
        "For every answer the neuron that tells it best, chosen on one half of the athletes and judged on "
        "the other. An area under the curve of 1 is perfect, one half is chance.",
        _whole("attribute_neurons"),
        (
            Chart(
                kind="bars", x="answer", y="auc", low="auc_low", high="auc_high", reference=0.5, y_title="AUC"
            ),
        ),
    ),
    Shown(
        "F13",
        "A probe through the effective model",
        "If names were first scrambled and then looked up, a probe would stay at chance and then jump. A "
        "smooth rise speaks against it.",
        _whole("probes_through"),
        (Bounded(kind="lines", x="layer", y="accuracy", x_title=LAYER),),
    ),
    Shown(
        "F14",
        "Known and unknown names",
        "How much longer the output of each MLP is on names that the model knows than on others put "
        "together from the same parts. A pure hash would treat them alike.",
        _whole("norms"),
        (
            Bounded(
                kind="lines",
                x="layer",
                y="ratio",
                reference=1.0,
            ),
        ),
    ),
    Shown(
        "F15",
        "Broken linear structure",
        "If an MLP only added up what each part of a name brings, swapping the surnames of two names would "
        "change nothing in the sum (0); if nothing of that is left, it is 1. Shuffled weights show what "
        "randomness alone breaks.",
        _whole("linearity"),
        (
            Bounded(
                kind="lines",
                x="layer",
                y="broken",
                series="names",
                panel="of",
            ),
        ),
    ),
    Shown(
        "F16",
        "A test that misleads",
        "What is left of a name without the span of all others seems to tell the answer, as if the neuron "
        "fired on what is the name's own. Simulated names that hold nothing of their own give the same: "
        "each point is a draw.",
        _whole("remainder"),
        (Chart(kind="points", x="null", y="auc", x_title="AUC of simulated names", y_title="AUC measured"),),
    ),
    Shown(
        "N1.previous-token",
        "What carries the name's first part",
        "To fire on a full name, the end of the name must hear of its beginning. Each point is a head: how "
        "much it looks back at it, and how much is lost without it.",
        _components("carrying_heads"),
        (Chart(kind="points", x="attention", y="effect", name="component", y_title="effect (logits)"),),
    ),
    Shown(
        "N1.parts",
        "What is there of each part",
        "How much of what differs between names at their end is the first part's, how much the last part's, "
        "and how much belongs to both together only: the AND.",
        _parts,
        (Chart(kind="lines", x="layer", y="share", series="part"),),
    ),
    Shown(
        "N1.conjunction",
        "Neurons that fire on both parts",
        "The neurons that make most of the AND, a twentieth of those that look up. The claim compares the "
        "answers without them and without as many others.",
        _whole("conjunction_neurons"),
        (Chart(kind="points", x="layer", y="excess", name="neuron"),),
    ),
    Shown(
        "N1.next-output",
        "Output, next output, next-next output",
        "Once the first word of an answer is out, where does the next one come from? Each line replaces one "
        "position's stream by another athlete's before a layer, and shows how often the answer follows.",
        _way,
        (
            Bounded(
                kind="lines",
                x="layer",
                y="follows",
                series="position",
                panel="said",
            ),
        ),
    ),
    Shown(
        "guessing",
        "How much the names tell by themselves",
        "Classifiers that see nothing but the names guess the answers of people whom they have not seen. "
        "What they cannot guess above shuffled answers has to be learnt by heart.",
        _whole("memorisation_score"),
        (Chart(kind="bars", x="classifier", y="accuracy", y_title="accuracy on names not seen"),),
    ),
    Shown(
        "sources",
        "Which words the answer comes from",
        "What all heads together add to the right answer, by the part of the prompt that they take it from.",
        _whole("by_source"),
        (Bounded(kind="bars", x="part", y="effect", y_title="effect (logits)"),),
    ),
    Shown(
        "knockout",
        "Attention knocked out",
        "The last word may not look at one part of the prompt in a window of layers around each layer. "
        "Where the answer falls, it is being fetched.",
        _whole("knockout"),
        (
            Bounded(
                kind="lines",
                x="layer",
                y="change",
                series="blocked",
                y_title="change of log p (nats)",
            ),
        ),
    ),
    Shown(
        "attributes",
        "Attributes on the name",
        "How many of what the table says of somebody is among the fifty words that the end of the name "
        "would call up next, layer by layer; another's attributes show what any name calls up.",
        _whole("attributes_rate"),
        (Bounded(kind="lines", x="layer", y="rate", series="kind", x_title=LAYER),),
    ),
    Shown(
        "tracing",
        "Causal tracing",
        "The name is drowned in noise, and one state is restored. This says where what is known passes "
        "through; it does not say which layer to edit.",
        _whole("tracing"),
        (Chart(kind="heat", x="position", y="layer", value="restored", panel="site"),),
    ),
    Shown(
        "linear",
        "The relation as a linear map",
        "One affine map, fitted on eight facts, from the end of the name to the answer: how often it agrees "
        "with the model, and how often moving the name along it moves the answer.",
        _text("linear_relation", "layer"),
        (
            Bounded(
                kind="bars",
                x="measure",
                y="share",
                series="layer",
            ),
        ),
    ),
)
