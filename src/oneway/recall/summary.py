"""What is true of many facts: means with intervals, chance, and forward against reverse on the same facts."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import polars as pl

from oneway.evidence import mcnemar, over_facts
from oneway.recall.rows import DIRECTIONS

GUESSERS = ("uniform", "frequent", "surname")
MEASURES = {
    "exact_match": "probability",
    "top1": "probability",
    "logprob": "nats",
    "logprob_per_token": "nats",
    "margin": "nats",
}


def summarise(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """One entry per relation, split and direction; "" stands for all relations, or all splits, together.

    A fact's templates are averaged first, so that `n` counts facts. `chance` is the largest of the three
    guessers' mean probabilities of an exact match, `guesser` its name, `guessers` all three. The reverse
    entry holds `paired`, the comparison with forward on the facts asked both ways.
    """
    return [{**group, **entry} for group, chosen in groups(per_fact(rows)) for entry in _directions(chosen)]


def groups(facts: pl.DataFrame) -> Iterator[tuple[dict[str, str], pl.DataFrame]]:
    """Every relation in every split with its facts; "" stands for all relations, or all splits, together."""
    relations = facts["relation"].unique(maintain_order=True).to_list()
    splits = [split for split in facts["split"].unique(maintain_order=True).to_list() if split]
    present = set(facts.select("split", "relation").unique().iter_rows())
    # One relation, or one split, is stated again under its own name: a reader may look for either.
    for split, relation in product(("", *splits), ("", *relations)):
        if split and relation and (split, relation) not in present:
            continue
        chosen = facts
        if split:
            chosen = chosen.filter(pl.col("split") == split)
        if relation:
            chosen = chosen.filter(pl.col("relation") == relation)
        yield {"relation": relation, "split": split}, chosen


def per_fact(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per fact and direction: the means over its templates."""
    means = [pl.col(name).mean() for name in ("exact_match", "logprob", "logprob_per_token", "margin")]
    means += [pl.col(f"chance_{name}").mean() for name in GUESSERS]
    return rows.group_by("fact", "relation", "split", "direction", maintain_order=True).agg(
        *means, (pl.col("rank") == 1).mean().alias("top1"), pl.len().alias("rows")
    )


def _directions(facts: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for direction in DIRECTIONS:
        asked = facts.filter(pl.col("direction") == direction)
        if asked.is_empty():
            continue
        guessers = {name: float(asked[f"chance_{name}"].mean()) for name in GUESSERS}  # type: ignore[arg-type]
        best = max(guessers, key=lambda name: guessers[name])
        entry: dict[str, Any] = {"direction": direction, "facts": asked.height}
        entry["rows"] = int(asked["rows"].sum())
        for name, unit in MEASURES.items():
            values = asked[name].drop_nulls()
            entry[name] = _estimate(values, unit) if len(values) else None
        entry |= {"chance": guessers[best], "guesser": best, "guessers": guessers}
        if direction == "reverse":
            entry["paired"] = paired(facts)
        yield entry


def paired(facts: pl.DataFrame) -> dict[str, Any] | None:
    """Forward against reverse on the facts of `per_fact` that were asked both ways, or None without any.

    `p_value` is the exact McNemar test of the facts known one way only. A fact is known where half or more of
    its templates match exactly. `difference` is the mean over facts of forward less reverse log-probability
    per token.
    """
    forward, reverse = (facts.filter(pl.col("direction") == direction) for direction in DIRECTIONS[:2])
    both = forward.join(reverse, on="fact", suffix="_reverse", maintain_order="left")
    if both.is_empty():
        return None
    known, known_reverse = both["exact_match"] >= 0.5, both["exact_match_reverse"] >= 0.5
    forward_only, reverse_only = int((known & ~known_reverse).sum()), int((known_reverse & ~known).sum())
    difference = both["logprob_per_token"] - both["logprob_per_token_reverse"]
    return {
        "facts": both.height,
        "both": int((known & known_reverse).sum()),
        "forward_only": forward_only,
        "reverse_only": reverse_only,
        "neither": int((~known & ~known_reverse).sum()),
        "p_value": mcnemar(forward_only, reverse_only),
        "difference": _estimate(difference, "nats"),
    }


def _estimate(values: pl.Series, unit: str) -> dict[str, Any]:
    return over_facts(values.to_numpy(), unit, resamples=resamples(len(values))).to_dict()


def resamples(facts: int) -> int:
    """A bootstrap whose work is bounded: for many facts, fewer resamples give as exact an interval."""
    return max(200, min(2000, 8_000_000 // facts))
