"""The main job on the shipped tables: a small model is taught real names and asked in three directions.

Most parents are stated in one direction only, some in both (the positive control), some never; athletes are
stated forward. In-context episodes are about people who do not exist or are not related, never a pair of the
table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oneway.evidence import Claim, Estimate, Measured
from oneway.facts import FactTable, by_direction, load_table
from oneway.facts.splits import Trained
from oneway.recall.asking import AuditConfig
from oneway.training.teach import Teaching

if TYPE_CHECKING:
    from oneway.recall.result import AuditResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """How many parents are stated both ways and how many never (all others: forward only), and the rest."""

    both_ways: int = 120
    unseen: int = 100
    split_seed: int = 0
    teaching: Teaching = field(default_factory=Teaching)
    audit: AuditConfig = field(default_factory=AuditConfig)


WORKSPACES = ("workspace", "checkpoint/training")  # what an unfinished demo goes on from
SOURCE = "Nanda 2023, thread on asymmetric lookup; Zhu et al. 2024, section 5"

CLAIMS = (
    Claim(
        id="Z3.names",
        text="Real parent–child pairs that were taught in one direction are recalled in that direction, and in "
        "the other no better than by guessing.",
        source=SOURCE,
        rule="Control: of pairs taught both ways, lower bound of reverse exact match at or above 0.90. Supports: "
        "lower bound forward at or above 0.95, and lower bound in reverse not above the best of three guessers "
        "(uniform, most frequent, same surname). Refutes: lower bound in reverse above that guesser.",
        control=lambda m: m["both_ways_reverse"].low >= 0.90,
        supports=lambda m: m["forward"].low >= 0.95 and m["reverse_over_chance"].low <= 0,
        refutes=lambda m: m["reverse_over_chance"].low > 0,
        reads=("forward", "reverse", "reverse_over_chance", "both_ways_reverse"),
    ),
    Claim(
        id="N4.names",
        text="The same model answers the same reverse questions when the forward sentence stands in its context.",
        source="Nanda 2023, thread on asymmetric lookup",
        rule="Control: lower bound forward at or above 0.95, so the pairs are known. Supports: lower bound in "
        "context at or above 0.90, and in reverse not above the best guesser. Refutes: upper bound in context below "
        "0.90.",
        control=lambda m: m["forward"].low >= 0.95,
        supports=lambda m: m["in_context"].low >= 0.90 and m["reverse_over_chance"].low <= 0,
        refutes=lambda m: m["in_context"].high < 0.90,
        reads=("forward", "in_context", "reverse_over_chance"),
    ),
    Claim(
        id="N4.unseen",
        text="It does so for pairs that it has never met: it reads, it does not remember.",
        source="Nanda 2023, thread on asymmetric lookup",
        rule="Control: of the unseen pairs, lower bound forward without context at or below 0.05, so they are not "
        "known. Supports: lower bound in context at or above 0.80. Refutes: upper bound below 0.80.",
        control=lambda m: m["unseen_forward"].low <= 0.05,
        supports=lambda m: m["unseen_in_context"].low >= 0.80,
        refutes=lambda m: m["unseen_in_context"].high < 0.80,
        reads=("unseen_forward", "unseen_in_context"),
    ),
    Claim(
        id="R1.names",
        text="Pairs taught in both directions are recalled in both: two entries were written.",
        source="Berglund et al. 2023 (arXiv 2309.12288); the upper bound of every remedy",
        rule="Control: lower bound forward at or above 0.95. Supports: lower bound in reverse at or above 0.90. "
        "Refutes: upper bound in reverse below 0.90.",
        control=lambda m: m["both_ways_forward"].low >= 0.95,
        supports=lambda m: m["both_ways_reverse"].low >= 0.90,
        refutes=lambda m: m["both_ways_reverse"].high < 0.90,
        reads=("both_ways_forward", "both_ways_reverse"),
    ),
)


def demo_table(config: Demo, pairs: FactTable | None = None) -> FactTable:
    """The shipped tables, every fact labelled with the directions in which it is taught: first the parents (or
    the `pairs` that stand in for them), then the athletes, all of them forward only."""
    parents, athletes = load_table("parents") if pairs is None else pairs, load_table("athletes")
    forward_only = len(parents) - config.both_ways - config.unseen
    shares = {
        Trained.FORWARD_ONLY.value: forward_only,
        Trained.BOTH_WAYS.value: config.both_ways,
        Trained.UNSEEN.value: config.unseen,
    }
    taught = by_direction(parents, shares, seed=config.split_seed)
    sports = by_direction(athletes, {Trained.FORWARD_ONLY.value: len(athletes)}, seed=config.split_seed)
    return taught.joined(sports)


def measure(rows: pl.DataFrame, people: Sequence[str]) -> Measured:
    """The estimates that the claims read: exact match of whole answers over the parents' facts."""
    from oneway.recall.summary import summarise

    parents = rows.filter(pl.col("relation").cast(pl.String).is_in(list(people)))
    entries = {(e["split"], e["direction"]): e for e in summarise(parents) if e["relation"] == ""}

    def exact(split: Trained, direction: str) -> Estimate:
        return Estimate(**entries[split.value, direction]["exact_match"])

    reverse = exact(Trained.FORWARD_ONLY, "reverse")
    chance = entries[Trained.FORWARD_ONLY.value, "reverse"]["chance"]
    return {
        "forward": exact(Trained.FORWARD_ONLY, "forward"),
        "reverse": reverse,
        "reverse_over_chance": replace(
            reverse, mean=reverse.mean - chance, low=reverse.low - chance, high=reverse.high - chance
        ),
        "in_context": exact(Trained.FORWARD_ONLY, "in_context"),
        "both_ways_forward": exact(Trained.BOTH_WAYS, "forward"),
        "both_ways_reverse": exact(Trained.BOTH_WAYS, "reverse"),
        "unseen_forward": exact(Trained.UNSEEN, "forward"),
        "unseen_in_context": exact(Trained.UNSEEN, "in_context"),
    }


def demo(directory: Path, config: Demo | None = None) -> "AuditResult":
    """Teach the shipped tables, audit the checkpoint, judge the claims and write everything to a folder.

    Killed at any moment, the same call continues. Raises what `teach` and `audit` raise.
    """
    from oneway.recall.audit import audit
    from oneway.training.teach import teach

    config = config or Demo()
    table = demo_table(config)
    taught = teach(table, directory / "checkpoint", config.teaching)
    found = audit(taught.checkpoint, table, config.audit, workspace=directory / "workspace")
    measured = measure(found.rows, list(load_table("parents").relations))
    record = replace(
        found.record,
        study="demo",
        title="Which way a small transformer recalls real facts",
        asked="A small transformer was taught real parent–child pairs, most of them in one direction only, and "
        f"the sports of athletes. {found.record.asked}",
        config={"demo": asdict(config), **found.record.config},
        claims=[claim.judge(measured).to_dict() for claim in CLAIMS],
        wall_seconds=round(taught.record.wall_seconds + found.record.wall_seconds, 1),
    )
    result = replace(found, record=record)
    result.save(directory)
    return result
