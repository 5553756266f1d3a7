"""The default model shows what it is there to show: a lookup at the end of the name, read out by a head.

A decoder of half a million parameters is taught the world `athletes` and asked for their sport as the Fact Finding
sequence asks Pythia 2.8B: one shot, over the whole vocabulary. Circuits differ from seed to seed, so that every seed
has to pass a gate, stated in advance, before it is dissected; all seeds are shown, whether they pass or not.

Source: Nanda, Rajamanoharan, Kramár, Shah 2023, Fact Finding, posts 1 and 2. Deviations: the athletes are invented
and their sports drawn at random, so that nothing but memory can tell them; the model is grown on them alone; the
extracting head is the one with the largest direct effect, never the one whose probe is best; the mean over the facts
of what its probe says is taken off first, since what the head says of everybody is no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import Fact, FactTable, arbitrary_facts, arbitrary_names, athletes, name_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.anatomy.asked import Asked
    from oneway.engine import Engine

SOURCE = "Fact Finding (Nanda et al. 2023), posts 1 and 2"
RELATION = "plays_sport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a seed has to reach to be dissected; stated before any of the seeds was grown.

    `recall`: share of the athletes whose sport has more than half of the probability over the whole vocabulary.
    `probe`: share whose sport the extracting head's OV circuit and the unembedding read off the end of the name.
    `moved`: share whose answer becomes another athlete's sport when the residual stream on the end of the name, after
    the middle layer, is that athlete's.

    Chance is about one third for `probe`, and a model that looks up elsewhere has a `moved` of 0. The levels: Pythia
    2.8B has .98 for `probe` after everybody below a half of probability was left out, three prototypes of this model
    had .64, .99 and a value between.
    """

    recall: float = 0.99
    probe: float = 0.90
    moved: float = 0.90

    def passed(self, found: Mapping[str, float]) -> bool:
        """Whether every share reaches its level."""
        return all(found[name] >= least for name, least in self.levels.items())

    @property
    def levels(self) -> dict[str, float]:
        return asdict(self)


GATE = Gate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How many people there are, and how many steps the model is taught; each seed has a world of its own."""

    athletes: int = 1500
    others: int = 200
    parents: int = 200
    steps: int = 1150
    layers: int = 8
    width: int = 64
    seeds: tuple[int, ...] = (0, 1)


def quick() -> Config:
    """Two seeds: some five minutes on one core."""
    return Config()


def standard() -> Config:
    """Five seeds."""
    return Config(seeds=tuple(range(5)))


CLAIMS = (
    Claim(
        id="F4.default-model-recall",
        text="A decoder of half a million parameters knows the sports of 1,500 athletes who share their names.",
        source=f"{SOURCE}: kept are athletes whose sport has more than half of the probability",
        rule="Control: of people whom the model never met, with sports drawn for them, at most half are known so "
        f"(upper bound). Supports: lower bound of the share known, over seeds, at or above {GATE.recall:g}. Refutes: "
        "upper bound below it.",
        control=lambda m: m["strangers"].high <= 0.5,
        supports=lambda m: m["recall"].low >= GATE.recall,
        refutes=lambda m: m["recall"].high < GATE.recall,
        reads=("recall", "strangers"),
    ),
    Claim(
        id="F4.default-model-head",
        text="The OV circuit of the head with the largest direct effect, and the unembedding, read the sport off the "
        "end of the name.",
        source=f"{SOURCE}, mechanistic probe: .98 for head L16H20",
        rule="Control: lower bound of recall at or above 0.9. Supports: lower bound of the probe's accuracy, over "
        f"seeds, at or above {GATE.probe:g}. Refutes: upper bound below it.",
        control=lambda m: m["recall"].low >= 0.9,
        supports=lambda m: m["probe"].low >= GATE.probe,
        refutes=lambda m: m["probe"].high < GATE.probe,
        reads=("recall", "probe"),
    ),
    Claim(
        id="F5.default-model-moved",
        text="After half of the layers the sport is on the end of the name: put there from another athlete, it is "
        "answered.",
        source=f"{SOURCE}: lookup is early",
        rule="Control: lower bound of recall at or above 0.9. Supports: lower bound, over seeds, of the share of "
        f"answers that move at or above {GATE.moved:g}. Refutes: upper bound below it.",
        control=lambda m: m["recall"].low >= 0.9,
        supports=lambda m: m["moved"].low >= GATE.moved,
        refutes=lambda m: m["moved"].high < GATE.moved,
        reads=("recall", "moved"),
    ),
    Claim(
        id="F4.default-model-one-way",
        text="What it was told in one direction it does not say in the other, unless it stands in the context.",
        source="Berglund et al. 2023 (arXiv 2309.12288); Nanda 2023, thread on asymmetric lookup",
        rule="Control: lower bound of forward recall of whole names at or above 0.9. Supports: reverse, upper bound "
        "below 0.05, and in context, pairs never met, lower bound above 0.5. Refutes: lower bound of reverse above "
        "0.05, or upper bound in context below 0.5.",
        control=lambda m: m["parents_forward"].low >= 0.9,
        supports=lambda m: m["parents_reverse"].high < 0.05 and m["strangers_in_context"].low > 0.5,
        refutes=lambda m: m["parents_reverse"].low > 0.05 or m["strangers_in_context"].high < 0.5,
        reads=("parents_forward", "parents_reverse", "strangers_in_context"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Grow every seed's model in its own world and measure it; a row per seed and quantity.

    Raises ValueError without a workspace: a model is measured as the checkpoint that it was written to.
    """
    from oneway.engine import Engine, open_model
    from oneway.training.default_model import default_model
    from oneway.training.teach import teach

    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        table = world(config, seed)
        recipe = default_model(seed)
        recipe = replace(
            recipe,
            size=replace(recipe.size, layers=config.layers, width=config.width),
            optimisation=replace(recipe.optimisation, steps=config.steps),
        )
        taught = teach(table, workspace / f"seed-{seed}", recipe)
        engine = open_model(taught.checkpoint, device="cpu")
        assert isinstance(engine, Engine)
        found = looked_up(engine, table, seed) | said(taught.checkpoint, table, seed)
        rows += [{"seed": seed, "quantity": name, "value": value} for name, value in found.items()]
    return pl.DataFrame(rows, schema={"seed": pl.Int64, "quantity": pl.String, "value": pl.Float64})


def world(config: Config, seed: int) -> FactTable:
    """The facts that a seed's model is taught."""
    return athletes(config.athletes, seed=seed, others=config.others, parents=config.parents)


def looked_up(engine: "Engine", table: FactTable, seed: int) -> dict[str, float]:
    """What the gate reads, and the same by layer: of the athletes, and of strangers with sports drawn for them."""
    from oneway.anatomy.extraction import direct
    from oneway.anatomy.probes import mechanistic_probe

    asked = one_shot(engine, table)
    effects = direct(engine, asked, seed=seed).direct
    (head,) = effects.top_heads(1)
    by_layer = moved(engine, asked, seed)
    return {
        "recall": share_known(engine, asked),
        "probe": mechanistic_probe(engine, asked, head).accuracy.mean,
        "moved": by_layer[engine.layers // 2 - 1],
        "head_layer": float(head[0]),
        "head": float(head[1]),
        "head_share": effects.share_of_top_head,
        "strangers": share_known(engine, one_shot(engine, strangers(table, seed))),
        **{f"moved_after_layer_{layer}": share for layer, share in enumerate(by_layer)},
    }


def one_shot(engine: "Engine", table: FactTable) -> "Asked":
    """The athletes' sports asked as the posts ask Pythia's. Raises ValueError where not all can be asked alike."""
    from oneway.anatomy.asked import ask

    assert engine.tokenizer is not None
    questions = ask(engine.tokenizer, table, RELATION, one_shot=0)
    if questions.notes or len(questions.groups) > 1:
        raise ValueError(f"not all sports can be asked alike: {'; '.join(questions.notes)}")
    return questions.groups[0]


def share_known(engine: "Engine", asked: "Asked") -> float:
    """The share of the facts whose right answer has more than half of the probability over the whole vocabulary."""
    from oneway.anatomy.asked import known

    return float(known(engine, asked).double().mean())


def moved(engine: "Engine", asked: "Asked", seed: int) -> list[float]:
    """How often the answer is another fact's when the end of the name has its residual stream, after each layer.

    An answer is the likeliest of the answers.
    """
    from oneway.anatomy.probes import swapped
    from oneway.engine import Patch, Resample, Site

    source = asked.others(seed=seed)
    layers = range(engine.layers)
    patches = [Patch(Site("resid_post", la, position=asked.final), Resample(source)) for la in layers]
    found = swapped(engine, asked, patches, [str(la) for la in layers], source)
    return [found[str(layer)].follows.mean for layer in layers]


def strangers(table: FactTable, seed: int) -> FactTable:
    """As many people as there are athletes, with their names' words, of whom the table says nothing, and sports."""
    rng = np.random.default_rng((seed, 1))
    sports = [fact.object for fact in table.select(relation=RELATION)]
    known = {name for fact in table for name in (fact.subject, fact.object)}
    names = arbitrary_names(*name_words(fact.subject for fact in table), rng, known=known)
    new = list(dict.fromkeys(islice(names, 2 * len(sports))))[: len(sports)]
    return table.with_facts(
        Fact(name, RELATION, sport) for name, sport in zip(new, rng.permutation(sports).tolist(), strict=True)
    )


def said(checkpoint: Path, table: FactTable, seed: int) -> dict[str, float]:
    """Exact match of whole names: of the pairs of the table three ways, and of pairs never met in their context."""
    from oneway.recall.asking import AuditConfig
    from oneway.recall.audit import audit
    from oneway.recall.summary import summarise

    pairs = table.with_facts(fact for fact in table if table.relations[fact.relation].one_to_one)
    known = {name for fact in table for name in (fact.subject, fact.object)}
    rng = np.random.default_rng((seed, 2))
    met_never = table.with_facts(
        islice(arbitrary_facts(pairs, rng, same_surname=0.0, known=known), len(pairs))
    )
    found: dict[str, float] = {}
    for who, asked in (("parents", pairs), ("strangers", met_never)):
        rows = audit(checkpoint, asked, AuditConfig(seed=seed), device="cpu").rows
        overall = [entry for entry in summarise(rows) if entry["relation"] == entry["split"] == ""]
        found |= {f"{who}_{entry['direction']}": float(entry["exact_match"]["mean"]) for entry in overall}
    return found


def measure(curves: pl.DataFrame) -> Measured:
    """Every quantity over seeds."""
    names = curves["quantity"].unique(maintain_order=True).to_list()
    units = {"head_layer": "layer", "head": "head"}
    return {
        name: over_seeds(curves.filter(quantity=name)["value"].to_numpy(), units.get(name, "probability"))
        for name in names
    }


def by_seed(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One row per seed, whether it passes the gate or not."""
    wide = curves.pivot("quantity", index="seed", values="value")
    passed = [GATE.passed({name: row[name] for name in GATE.levels}) for row in wide.iter_rows(named=True)]
    return {"seeds": wide.insert_column(1, pl.Series("passed", passed))}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Left, what the gate reads of every seed with its levels; right, where the sport can be put into the model."""
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    blue = DIRECTIONS["forward"].light
    wide = by_seed(measured, curves)["seeds"]
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    gate, layers = drawn.subplots(1, 2)
    for place, (name, least) in enumerate(GATE.levels.items()):
        gate.plot([place - 0.3, place + 0.3], [least, least], color="0.35", linestyle="--")
        spread = place + np.linspace(-0.2, 0.2, len(wide)) if len(wide) > 1 else [place]
        gate.scatter(spread, wide[name], color=blue)
    gate.set_xticks(range(len(GATE.levels)), ["recall", "probe of the head", "answer moved"])
    gate.set(ylim=(0, 1.05), ylabel="share of athletes")
    gate.set_title("Every seed, and what the gate asks", loc="left")
    names = [name for name in wide.columns if name.startswith("moved_after_layer_")]
    for row in wide.iter_rows(named=True):
        layers.plot(range(len(names)), [row[name] for name in names], color=blue, alpha=0.7, marker="o")
    layers.set(
        ylim=(-0.02, 1.05), xlabel="end of the name replaced after layer", ylabel="share of answers that move"
    )
    layers.set_title("Another athlete on the end of the name", loc="left")
    return drawn


STUDY = Study(
    name="default-model",
    title="Does the default model look up facts as a language model does?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
    tables=by_seed,
)
