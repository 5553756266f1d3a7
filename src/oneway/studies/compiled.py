"""The lookup circuit of Nanda's thread, written into weights: A→B is recalled exactly, B→A only where the table states
it.

A random table of people: names of one to three words that share them (parents two), three relations, answers of one
to three words. Some of the children's parents are also stated the other way round, in the words of the reverse
question; of these the reverse is known, of the others it must not be. The table is compiled in both architectures,
a neuron for every fact, and the plain checkpoint is asked through greedy `generate`. Then each part of the circuit
that `circuit.json` names is taken out by a plain hook that sets its output to zero, and every question is asked
again: exact greedy answers, the end after them included.

Source: Nanda 2023, thread on asymmetric lookup (N1, N2). Nothing is trained; the seeds draw tables.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import Fact, FactTable, Relation
from oneway.facts.names import invented_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from oneway.compiler.manifest import Manifest
    from oneway.studies.plain_checkpoint import PlainCheckpoint

SOURCE = "Nanda 2023, thread on asymmetric lookup"
ARCHITECTURES: tuple[Literal["gpt2", "neox"], ...] = ("gpt2", "neox")
RELATIONS = {
    "child": Relation(
        "child", ("{subject} is the child of {object}",), ("{object} is the parent of {subject}",)
    ),
    "parent": Relation("parent", ("{subject} is the parent of {object}",)),
    "town": Relation("town", ("{subject} lives in the town called {object}",)),
}
SCHEMA = {
    "seed": pl.Int64,
    "architecture": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
    "layer": pl.Int64,
    "source": pl.Int64,
    "target": pl.Int64,
    "label": pl.String,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`facts` of each of the relations `child` and `town`; `stated`: the share of children whose parent is stated, too;
    `neurons`: how many fact neurons are taken out, one at a time."""

    facts: int = 60
    stated: float = 0.3
    words: int = 40
    neurons: int = 12
    seeds: tuple[int, ...] = (0, 1, 2)


def quick() -> Config:
    """120 facts and some that are stated in reverse: under a minute."""
    return Config()


def standard() -> Config:
    """2,000 facts, five tables."""
    return Config(facts=1000, words=200, neurons=20, seeds=(0, 1, 2, 3, 4))


def paper() -> Config:
    """10,000 facts (there is no published size)."""
    return Config(facts=5000, words=400, neurons=100, seeds=(0, 1, 2, 3, 4))


ALL, NONE = 0.999, 0.001
_RULE = f"Control: lower bound of the share of facts recalled forward above {ALL}"


def _recalled(m: Measured) -> bool:
    return m["forward"].low > ALL


def _part(part: str, text: str, *, kept: str, lost: str, rule: str) -> Claim:
    return Claim(
        id=f"N1.{part}",
        text=text,
        source=SOURCE,
        rule=f"{_RULE}. Supports: {rule}. Refutes: the upper bound of what should be kept is below {ALL}, or the lower "
        f"bound of what should be lost is above {NONE}.",
        control=_recalled,
        supports=lambda m: m[kept].low > ALL and m[lost].high < NONE,
        refutes=lambda m: m[kept].high < ALL or m[lost].low > NONE,
        reads=("forward", kept, lost),
    )


CLAIMS = (
    Claim(
        id="N2",
        text="A circuit written from a table recalls A→B exactly and knows nothing of B→A but what the table states.",
        source=SOURCE,
        rule="Control: lower bound of the share of reverse questions answered rightly, where the table states the "
        f"reverse, above {ALL}. Supports: lower bound of the share of facts recalled forward above {ALL}, and upper "
        f"bound of the share of the other reverse questions that get any answer below {NONE}. Refutes: the upper "
        f"bound of the first is below {ALL}, or the lower bound of the second above {NONE}.",
        control=lambda m: m["reverse_stated"].low > ALL,
        supports=lambda m: m["forward"].low > ALL and m["reverse_unstated_answered"].high < NONE,
        refutes=lambda m: m["forward"].high < ALL or m["reverse_unstated_answered"].low > NONE,
        reads=("forward", "reverse_stated", "reverse_unstated_answered"),
    ),
    _part(
        "previous-token",
        "Early heads bring the earlier words of a name onto its last token: without them names of several words are "
        "lost, and names of one word are not.",
        kept="no_previous_one_word",
        lost="no_previous_several_words",
        rule="without the previous-name heads the lower bound of recall for names of one word is above "
        f"{ALL} and the upper bound for longer names below {NONE}",
    ),
    Claim(
        id="N1.neuron",
        text="One neuron looks a fact up: without it that fact is lost and no other one.",
        source=SOURCE,
        rule=f"{_RULE}. Supports: lower bound of the share of the neurons taken out whose loss is exactly their fact "
        f"above {ALL}. Refutes: its upper bound is below {ALL}.",
        control=_recalled,
        supports=lambda m: m["neurons_exact"].low > ALL,
        refutes=lambda m: m["neurons_exact"].high < ALL,
        reads=("forward", "neurons_exact"),
    ),
    _part(
        "relation",
        "Heads of a relation read its answers off the name: without them that relation is lost and no other one.",
        kept="no_relation_others",
        lost="no_relation_own",
        rule="without the heads of one relation the lower bound of recall for the other relations is above "
        f"{ALL} and the upper bound for its own below {NONE}",
    ),
    _part(
        "next-output",
        "Late heads move the later tokens of an answer along: without them its first token is said as before, and no "
        "answer of several tokens is.",
        kept="no_next_first_token",
        lost="no_next_several_tokens",
        rule=f"without the next-output heads the lower bound of the share of first tokens said is above {ALL} and "
        f"the upper bound of recall for answers of several tokens below {NONE}",
    ),
)


def random_people(config: Config, seed: int) -> tuple[FactTable, set[int]]:
    """The table, and the rows of `child` whose reverse is stated."""
    rng = np.random.default_rng(seed)
    words = invented_words(config.words, rng)

    def names(count: int, taken: set[str], shortest: int = 1, longest: int = 3) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            name = " ".join(rng.choice(words, int(rng.integers(shortest, longest + 1)), replace=False))
            if name not in taken:
                found[name] = None
        return list(found)

    children = names(config.facts, set())
    parents = names(
        config.facts, set(children), 2, 2
    )  # none ends in another one, whose reverse may be stated
    towns = names(config.facts, set())
    facts = [Fact(child, "child", parent) for child, parent in zip(children, parents, strict=True)]
    facts += [Fact(child, "town", town) for child, town in zip(children, towns, strict=True)]
    stated = set(rng.permutation(config.facts)[: round(config.stated * config.facts)].tolist())
    facts += [Fact(parents[row], "parent", children[row]) for row in sorted(stated)]
    return FactTable(tuple(facts), RELATIONS), stated


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Compile, ask, take parts out; a row per seed, architecture and quantity, and the circuit of one fact to draw."""
    from oneway.report.progress import progress

    rows: list[dict[str, Any]] = []
    runs = [(seed, architecture) for seed in seeds for architecture in ARCHITECTURES]
    with progress("compiled tables") as advance, TemporaryDirectory(dir=workspace) as folder:
        for number, (seed, architecture) in enumerate(runs):
            advance(number, len(runs))
            found, drawn = _asked(config, seed, architecture, Path(folder) / f"{seed}-{architecture}")
            rows += [
                {"seed": seed, "architecture": architecture, "quantity": k, "value": v}
                for k, v in found.items()
            ]
            if number == 0:
                rows += [{"seed": seed, "architecture": architecture, **row} for row in drawn]
        advance(len(runs), len(runs))
    return pl.DataFrame(rows, schema=SCHEMA)


def _asked(
    config: Config, seed: int, architecture: Literal["gpt2", "neox"], folder: Path
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    from oneway.compiler import compile_table, read_manifest
    from oneway.studies.plain_checkpoint import PlainCheckpoint

    table, stated = random_people(config, seed)
    compile_table(table, folder, architecture=architecture)
    plain, manifest = PlainCheckpoint(folder), read_manifest(folder)
    prompts = [
        RELATIONS[fact.relation].forward[0].split(" {object}")[0].format(subject=fact.subject)
        for fact in table
    ]
    answers = [fact.object for fact in table]
    said = np.array(plain.say(prompts)) == np.array(answers)
    reverse = [f"{fact.object} is the parent of" for fact in table.facts[: config.facts]]
    back, known = plain.say(reverse), np.isin(np.arange(config.facts), sorted(stated))
    right = np.array([text == fact.subject for text, fact in zip(back, table.facts, strict=False)])
    found = {
        "forward": float(said.mean()),
        "reverse_stated": float(right[known].mean()),
        "reverse_unstated_answered": float(np.mean([bool(text) for text in np.array(back)[~known]])),
    }
    found |= _without_parts(config, plain, manifest, table, plain.asked(prompts, answers), seed)
    return found, _drawing(manifest, table, plain)


def _without_parts(
    config: Config,
    plain: "PlainCheckpoint",
    manifest: "Manifest",
    table: FactTable,
    asked: Any,
    seed: int,
) -> dict[str, float]:
    """Recall of what should be kept and of what should be lost without each part of the circuit."""

    def heads(role: str, channel: str | None = None) -> list[tuple[int, int]]:
        return [
            (head["layer"], head["head"])
            for head in manifest.heads
            if head["role"] == role and (channel is None or channel in head["channels"])
        ]

    def recall(
        heads: Iterable[tuple[int, int]] = (), neurons: Iterable[tuple[int, int]] = ()
    ) -> tuple[Any, Any]:
        with plain.without(heads, neurons):
            return plain.recalled(asked)

    several_words = np.array([" " in fact.subject for fact in table])
    several_tokens = np.array([" " in fact.object for fact in table])
    relation = np.array([fact.relation for fact in table])
    whole, _ = recall(heads("previous-name"))
    found = {
        "no_previous_one_word": float(whole[~several_words].mean()),
        "no_previous_several_words": float(whole[several_words].mean()),
    }
    own, others = [], []
    for name in RELATIONS:
        whole, _ = recall(heads("relation", name))
        own += whole[relation == name].tolist()
        others += whole[relation != name].tolist()
    found |= {"no_relation_own": float(np.mean(own)), "no_relation_others": float(np.mean(others))}
    whole, first = recall(heads("next-output"))
    found |= {
        "no_next_first_token": float(first.mean()),
        "no_next_several_tokens": float(whole[several_tokens].mean()),
    }
    neurons = [neuron for neuron in manifest.neurons if neuron["role"] == "fact"]
    drawn = np.random.default_rng(seed).permutation(len(neurons))[: config.neurons]
    exact = []
    for neuron in (neurons[index] for index in drawn):
        whole, _ = recall(neurons=[(neuron["layer"], neuron["neuron"])])
        exact.append(np.flatnonzero(~whole).tolist() == sorted(neuron["facts"]))
    found["neurons_exact"] = float(np.mean(exact))
    return found


def _drawing(manifest: "Manifest", table: FactTable, plain: "PlainCheckpoint") -> list[dict[str, Any]]:
    """The units that answer one fact, a name of two words or more and an answer of three, from where to where."""
    row = next(
        row
        for row, fact in enumerate(table)
        if " " in fact.subject and fact.object.count(" ") == 2 and fact.relation == "town"
    )
    fact = table.facts[row]
    name, after = (
        plain.tokens(fact.subject),
        plain.tokens(RELATIONS["town"].forward[0][len("{subject}") : -len("{object}")]),
    )
    tokens = [*name, *after, *plain.tokens(fact.object)]
    on, end, answer = len(name) - 1, len(name) + len(after) - 1, len(tokens) - len(name) - len(after)
    drawn = [
        {"quantity": "token", "value": 0.0, "target": at, "label": text} for at, text in enumerate(tokens)
    ]
    for neuron in manifest.neurons:
        if row in neuron["facts"]:
            at = on if neuron["role"] in ("fact", "longer-name") else end
            drawn.append(_unit("neuron", neuron, at, at))
    for head in manifest.heads:
        back, role = head["offset"], head["role"]
        if role == "previous-name" and back < len(name):
            drawn.append(_unit("head", head, on - back, on))
        elif (role == "previous-text" and back < len(after)) or (
            role == "relation" and "town" in head["channels"]
        ):
            drawn.append(_unit("head", head, end - back, end))
        elif role == "next-output" and back < answer:
            drawn.append(_unit("head", head, end, end + back))
    return drawn


def _unit(kind: str, unit: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    place = {"layer": unit["layer"], "source": source, "target": target, "label": unit["label"]}
    return {"quantity": f"{kind} {unit['role']}", "value": float(unit[kind]), **place}


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over tables, each the mean of both architectures."""
    measured = {}
    for (quantity,), rows in curves.filter(pl.col("label").is_null()).group_by(
        "quantity", maintain_order=True
    ):
        values = rows.group_by("seed").agg(pl.col("value").mean()).sort("seed")["value"].to_numpy()
        measured[str(quantity)] = over_seeds(values, "share")
    return measured


_SHOWN = {
    "forward": "whole: A→B",
    "reverse_stated": "whole: B→A, stated",
    "reverse_unstated_answered": "whole: B→A, not stated",
    "no_previous_one_word": "no previous-name heads: names of one word",
    "no_previous_several_words": "… names of several words",
    "no_relation_others": "no heads of a relation: other relations",
    "no_relation_own": "… this relation",
    "no_next_first_token": "no next-output heads: first token",
    "no_next_several_tokens": "… answers of several tokens",
    "neurons_exact": "one neuron: exactly its fact is lost",
}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """The circuit of one fact as the manifest has it, and what is left without each of its parts."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    drawn = Figure(figsize=(13, 5.2), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1.35, 1))
    _draw_circuit(left, curves.filter(pl.col("label").is_not_null()))
    for place, (quantity, label) in enumerate(_SHOWN.items()):
        right.barh(-place, measured[quantity].mean, 0.6, color=DIRECTIONS["forward"].light)
        right.text(-0.02, -place, label, ha="right", va="center", fontsize=8)
        right.text(
            measured[quantity].mean + 0.02, -place, f"{measured[quantity].mean:.3g}", va="center", fontsize=8
        )
    right.set(xlim=(0, 1.1), yticks=[], xlabel="share")
    right.set_title("Asked with all parts and without some", loc="left", fontsize=10)
    right.spines[["top", "right", "left"]].set_visible(False)
    return drawn


def _draw_circuit(axes: "Axes", units: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    tones = {"head": CYCLE[0].light, "neuron": CYCLE[1].light}
    tokens = units.filter(pl.col("quantity") == "token").sort("target")["label"].to_list()
    named: dict[
        tuple[str, str, int], int
    ] = {}  # the last position that the units of a role write to, in each block
    for unit in units.filter(pl.col("quantity") != "token").iter_rows(named=True):
        kind, role = unit["quantity"].split(" ", 1)
        layer, target, tone = unit["layer"], unit["target"], tones[kind]
        named[kind, role, layer] = max(named.get((kind, role, layer), 0), target)
        if kind == "head":
            ends = ((unit["source"], layer - 0.25), (target, layer + 0.05))
            axes.annotate("", ends[1], ends[0], arrowprops={"arrowstyle": "->", "color": tone, "alpha": 0.8})
        else:
            axes.plot(target, layer + 0.3, marker="o", color=tone, markersize=8)
    for (kind, role, layer), target in named.items():
        height = layer + (0.05 if kind == "head" else 0.3)
        axes.text(target + 0.2, height, role, color=tones[kind], va="center", fontsize=8)
    shown_tokens = [token.replace("▁", " ") for token in tokens]
    axes.set_xticks(range(len(tokens)), shown_tokens, rotation=40, ha="right", fontsize=8)
    blocks = int(units["layer"].drop_nulls().to_numpy().max())
    axes.set(
        ylabel="block", xlim=(-0.6, len(tokens) + 0.4), ylim=(-0.6, blocks + 0.6), yticks=range(blocks + 1)
    )
    axes.set_title("The circuit of one fact: heads are arrows, neurons dots", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


STUDY = Study(
    name="compiled",
    title="Does a lookup written into weights recall one way only?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
