"""Two audits' tables fact by fact: what each fact was, what it is, and what became of it."""

from functools import reduce
from operator import or_
from typing import Any

import polars as pl

from oneway.recall.rows import DIRECTIONS, class_of, known

# A direction more and none less; one less and none more; the one for the other; the same ones; nothing to
# compare, because no direction was asked in both audits; and the facts that stand in one audit only.
CHANGES = ("gained", "lost", "turned_around", "kept", "not_comparable", "only_before", "only_after")
COMPARED = CHANGES[:4]
MEASURES = ("right", "logprob", "per_token")
_KEY = ("subject", "relation", "object")
_NEEDED: dict[str, Any] = {
    **dict.fromkeys((*_KEY, "direction"), pl.String),
    "exact_match": pl.Boolean,
    "right_answers": pl.Int64,
    "rank": pl.Int64,
    "logprob": pl.Float64,
    "logprob_per_token": pl.Float64,
}


class CompareError(ValueError):
    """Two runs cannot be compared; the message names the run and says why."""


def checked(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """The columns of an audit's table that a comparison reads, every text as text.

    Raises CompareError where a column is missing, of another kind, or has an empty cell, or a direction is
    unknown: such a table is no audit's, or damaged.
    """
    if missing := [column for column in _NEEDED if column not in rows.columns]:
        raise CompareError(
            f"{name}: its table of facts has no column {', '.join(missing)}; it is not an audit's, or damaged. "
            "Give the folders of two audits"
        )
    split = pl.col("split").cast(pl.String).fill_null("") if "split" in rows.columns else pl.lit("")
    place = pl.col("fact") if "fact" in rows.columns else pl.lit(None, dtype=pl.UInt32)
    try:
        read = rows.select(
            *(pl.col(column).cast(kind) for column, kind in _NEEDED.items()),
            split.alias("split"),
            place.cast(pl.Int64).alias("fact"),
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:200]
        raise CompareError(f"{name}: its table of facts is damaged: {reason}") from error
    if empty := [column for column in _NEEDED if read[column].null_count()]:
        raise CompareError(f"{name}: its table of facts has empty cells in {', '.join(empty)}")
    unknown = read.filter(~pl.col("direction").is_in(DIRECTIONS))["direction"]
    if len(unknown):
        raise CompareError(f"{name}: its table of facts has the direction {unknown[0]!r}, which is none")
    return read


def per_fact(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per fact of `checked` rows, with each direction's means over its templates.

    A fact is the same where subject, relation and object are, up to their Unicode form. `{direction}` is
    whether it counts as known, `{direction}_right` the share of templates whose whole answer is right,
    `{direction}_logprob` and `{direction}_per_token` in nats; null where the direction was not asked.
    """
    key = [pl.col(name).str.normalize("NFC").alias(f"{name}_key") for name in _KEY]
    columns = dict(zip(MEASURES, ("exact_match", "logprob", "logprob_per_token"), strict=True))
    means = [
        pl.col(column).filter(pl.col("direction") == direction).mean().alias(f"{direction}_{name}")
        for direction in DIRECTIONS
        for name, column in columns.items()
    ]
    named = [pl.col(name).first() for name in (*_KEY, "split")]
    copies = pl.col("fact").n_unique().alias("copies")
    return rows.group_by(key, maintain_order=True).agg(*named, copies, *known(), *means)


def changes(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """One row per fact of two `per_fact` tables: its classes, its change, and every direction's numbers.

    The columns: subject, relation, object, split ("a → b" where the audits differ), change, class_before,
    class_after, and of every direction `_right`, `_logprob` and `_per_token`, each `_before`, `_after` and
    (but for `_right`) `_difference`, after less before. Facts of one audit only come with the numbers it has.
    """
    key = [f"{name}_key" for name in _KEY]
    sides = [
        side.rename({name: f"{name}_{when}" for name in side.columns if name not in key}).with_columns(
            pl.lit(True).alias(f"in_{when}"),
            class_of(*(pl.col(f"{d}_{when}") for d in DIRECTIONS)).alias(f"class_{when}"),
        )
        for side, when in ((before, "before"), (after, "after"))
    ]
    joined = sides[0].join(sides[1], on=key, how="full", coalesce=True, maintain_order="left_right")
    first, second = pl.col("split_before"), pl.col("split_after")
    moved = pl.format("{} → {}", _said(first), _said(second))
    numbers: list[pl.Expr] = []
    for direction in DIRECTIONS:
        for name in MEASURES:
            pair = [pl.col(f"{direction}_{name}_{when}") for when in ("before", "after")]
            numbers += pair
            if name != "right":
                numbers.append((pair[1] - pair[0]).alias(f"{direction}_{name}_difference"))
    return joined.select(
        *(pl.coalesce(f"{name}_before", f"{name}_after").alias(name) for name in _KEY),
        pl.when(first != second).then(moved).otherwise(pl.coalesce(first, second)).alias("split"),
        _change().cast(pl.Enum(CHANGES)).alias("change"),
        "class_before",
        "class_after",
        *numbers,
    ).with_row_index("fact")


def _said(split: pl.Expr) -> pl.Expr:
    return pl.when(split == "").then(pl.lit("no split")).otherwise(split)


def _change() -> pl.Expr:
    """Which directions a fact gained and lost; reading it off the prompt counts where nothing else does."""

    def pair(direction: str) -> tuple[pl.Expr, pl.Expr]:
        return pl.col(f"{direction}_before"), pl.col(f"{direction}_after")

    def moved(direction: str, gain: bool) -> pl.Expr:
        first, second = pair(direction)
        return ((~first & second) if gain else (first & ~second)).fill_null(False)

    recalled = DIRECTIONS[:2]
    up, down = (moved(recalled[0], gain) | moved(recalled[1], gain) for gain in (True, False))
    any_recall = reduce(or_, (side.fill_null(False) for d in recalled for side in pair(d)))
    asked_in_both = reduce(or_, ((first + second).is_not_null() for first, second in map(pair, DIRECTIONS)))
    reads, stated = moved(DIRECTIONS[2], True), moved(DIRECTIONS[2], False)
    return (
        pl.when(pl.col("in_after").is_null())
        .then(pl.lit("only_before"))
        .when(pl.col("in_before").is_null())
        .then(pl.lit("only_after"))
        .when(~asked_in_both)
        .then(pl.lit("not_comparable"))
        .when(up & down)
        .then(pl.lit("turned_around"))
        .when(up | (~any_recall & reads))
        .then(pl.lit("gained"))
        .when(down | (~any_recall & stated))
        .then(pl.lit("lost"))
        .otherwise(pl.lit("kept"))
    )
