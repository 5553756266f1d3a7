"""A model names the parent of a child more often than the child of a parent.

Source: Berglund et al. 2023, experiment 2 (arXiv 2309.12288).

Deviations from the paper: the pairs are those that ship with oneway (or the facts that are given), the prompts
are statements to be completed and not questions to an assistant, every pair is asked both ways, and not only
those that are known forward. Without a model `quick` grows one that is taught the pairs forward, as the demo's
is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_facts, over_pairs
from oneway.evidence.study import Study
from oneway.facts import FactTable, resolve
from oneway.recall.asking import AuditConfig
from oneway.studies.demo import Demo, demo_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.recall.audit import Prepared
    from oneway.recall.result import AuditResult

SOURCE = "Berglund et al. 2023, experiment 2 (arXiv 2309.12288)"
GROWN = "grown for this run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`model`: a checkpoint directory or a hub name; "" grows one. `facts`: a shipped table or a file,
    with `relations` ("" where the file has templates of its own) its TOML.

    `growing` says how a model is grown; all the pairs are taught forward only. The first seed grows it and
    draws the candidates.
    """

    model: str = ""
    facts: str = "parents"
    relations: str = ""
    growing: Demo = field(default_factory=lambda: Demo(both_ways=0, unseen=0))
    audit: AuditConfig = field(default_factory=AuditConfig)
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"


def quick() -> Config:
    """A small model grown here: some minutes on two cores."""
    return Config()


def standard() -> Config:
    """Pythia 410M from the hub: some minutes on two cores once it is there (1.6 GB in float32)."""
    return Config(model="EleutherAI/pythia-410m")


def paper() -> Config:
    """Pythia 2.8B from the hub, the size at which facts about famous people are known; 12 GB in float32."""
    return Config(model="EleutherAI/pythia-2.8b")


POINTS = 0.05  # a difference of five points in a hundred counts
KNOWN = 0.10  # with fewer pairs known either way there is nothing to compare

CLAIMS = (
    Claim(
        id="B2",
        text="Asked for the parent of a child, the model is right more often than asked for the child of a parent.",
        source=SOURCE,
        rule="Control: with the pair stated in its context the parent → child question is answered (lower bound "
        f"at or above 0.80), and lower bound of pairs known in at least one direction at or above {KNOWN:.2f}. "
        f"Supports: lower bound of the paired difference (child → parent less parent → child) above {POINTS:g}. "
        f"Refutes: upper bound below {POINTS:g}.",
        control=lambda m: m["in_context"].low >= 0.80 and m["known_either_way"].low >= KNOWN,
        supports=lambda m: m["difference"].low > POINTS,
        refutes=lambda m: m["difference"].high < POINTS,
        reads=(
            "child_to_parent",
            "parent_to_child",
            "difference",
            "in_context",
            "known_either_way",
            "child_to_parent_over_chance",
            "parent_to_child_over_chance",
        ),
    ),
    Claim(
        id="B2.one-way",
        text="Of the pairs that are known in one direction only, most are known from child to parent.",
        source=f"{SOURCE}; McNemar's test as an interval",
        rule="Control: as B2. Supports: exact binomial interval of that share above 1/2 (McNemar's exact test "
        "rejects at 0.05). Refutes: it lies below 1/2.",
        control=lambda m: m["in_context"].low >= 0.80 and m["known_either_way"].low >= KNOWN,
        supports=lambda m: m["forward_share_of_one_way"].low > 0.5,
        refutes=lambda m: m["forward_share_of_one_way"].high < 0.5,
        reads=("forward_share_of_one_way", "in_context", "known_either_way"),
    ),
    Claim(
        id="B2.in-context",
        text="The same parent → child questions are answered when the pair stands in the context, so they are "
        "understood.",
        source=f"{SOURCE}, who see the same",
        rule=f"Control: lower bound of pairs known in at least one direction at or above {KNOWN:.2f}. Supports: "
        "lower bound in context at or above 0.80. Refutes: upper bound below 0.80.",
        control=lambda m: m["known_either_way"].low >= KNOWN,
        supports=lambda m: m["in_context"].low >= 0.80,
        refutes=lambda m: m["in_context"].high < 0.80,
        reads=("in_context", "parent_to_child", "known_either_way"),
    ),
)


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> "AuditResult":
    """Audit the model, or the one that is grown first, on every pair: both ways and in context.

    Raises ValueError as `check` does, and without a workspace where a model is to be grown.
    """
    from oneway.recall.audit import audit

    config = replace(config, seeds=tuple(seeds))
    answers = None if workspace is None else workspace / "answers"
    if config.model:
        given = prepared(config)
        prepared.cache_clear()  # the model's memory is given back with it
        return given.ask(answers)
    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    table, model = grown(config, check(config), workspace)
    found = audit(model, table, _questions(config), device=config.device, workspace=answers)
    record = replace(
        found.record,
        asked=f"A small transformer was taught {len(table):,} pairs in one direction only, from child to parent. "
        f"{found.record.asked}",
        config={**found.record.config, "model": GROWN},
    )
    return replace(found, record=record)


def check(config: Config) -> FactTable:
    """The pairs that are to be asked.

    Raises ValueError for more than one seed, facts that cannot be read, and a model that cannot be had, with
    what to do.
    """
    if len(config.seeds) != 1:
        raise ValueError(f"study celebrities asks one model: give one seed, not {len(config.seeds)}")
    if config.model:
        return prepared(config).table
    return resolve(config.facts, config.relations or None)


@lru_cache(maxsize=1)
def prepared(config: Config) -> "Prepared":
    """The audit of the model that is named, loaded once for check and experiment. Raises as `check` does."""
    from oneway.models.checkpoint import CheckpointError
    from oneway.recall.audit import prepare

    table = resolve(config.facts, config.relations or None)
    try:
        return prepare(config.model, table, _questions(config), device=config.device)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\nthe study celebrities was to ask this model: get it where the hub can be reached, or name one "
            "that lies here with --model DIRECTORY; --recipe quick without --model grows its own"
        ) from error


def _questions(config: Config) -> AuditConfig:
    return replace(config.audit, seed=config.seeds[0])


def grown(config: Config, pairs: FactTable, workspace: Path) -> tuple[FactTable, Path]:
    """The pairs as they are taught, all forward only, and a checkpoint that was taught them."""
    from oneway.training.teach import teach

    table = demo_table(config.growing, pairs)
    teaching = replace(config.growing.teaching, seed=config.seeds[0])
    taught = teach(table, workspace / "checkpoint", teaching)
    return table.with_facts(table.facts[: len(pairs)]), taught.checkpoint


def measure(rows: pl.DataFrame) -> Measured:
    """What the rules read, over facts; a fact's templates are averaged first."""
    from oneway.recall.summary import per_fact, summarise

    overall = {e["direction"]: e for e in summarise(rows) if e["relation"] == e["split"] == ""}
    facts = per_fact(rows).select("fact", "direction", "exact_match")
    wide = facts.pivot("direction", index="fact", values="exact_match").drop_nulls()
    forward, reverse = wide["forward"].to_numpy(), wide["reverse"].to_numpy()
    measured = {
        "child_to_parent": over_facts(forward, "probability"),
        "parent_to_child": over_facts(reverse, "probability"),
        "in_context": over_facts(wide["in_context"].to_numpy(), "probability"),
        "difference": over_pairs(reverse, forward, "probability"),
        "known_either_way": over_facts(((forward >= 0.5) | (reverse >= 0.5)).astype(float), "probability"),
    }
    for name, direction in (("child_to_parent", "forward"), ("parent_to_child", "reverse")):
        found, chance = measured[name], overall[direction]["chance"]
        measured[f"{name}_over_chance"] = replace(
            found, mean=found.mean - chance, low=found.low - chance, high=found.high - chance
        )
    paired = overall["reverse"]["paired"]
    measured["forward_share_of_one_way"] = share(paired["forward_only"], paired["reverse_only"])
    return measured


def share(of: int, others: int) -> Estimate:
    """of / (of + others) with the exact (Clopper–Pearson) 95% interval; undefined where there are none.

    It excludes 1/2 where McNemar's exact test of these two counts rejects at 0.05.
    """
    from scipy.stats import binomtest

    count = of + others
    if count == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0, "probability")
    interval = binomtest(of, count).proportion_ci(0.95, method="exact")
    return Estimate(of / count, float(interval.low), float(interval.high), count, "probability")


def figure(measured: Measured, rows: pl.DataFrame) -> "Figure":
    """Exact match per relation and direction with intervals and chance."""
    from oneway.recall.summary import summarise
    from oneway.report.figures import bars

    return bars(summarise(rows))


STUDY = Study(
    name="celebrities",
    title="Does a model name children as well as parents?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
    check=check,
)
