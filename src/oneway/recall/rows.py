"""From scores to the audit's table: one row per fact, direction and template, and a class per fact."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.facts import Direction, FactTable

if TYPE_CHECKING:  # they import torch, which reading an audit does not need
    from oneway.recall.alike import Alike
    from oneway.recall.asking import Ask
    from oneway.recall.scorer import Scores

DIRECTIONS = tuple(direction.value for direction in Direction)
CLASSES = ("both_ways", "forward_only", "reverse_only", "in_context_only", "neither")


def schema(table: FactTable) -> dict[str, pl.DataType | type[pl.DataType]]:
    """The columns of an audit's table. Texts that repeat are stored once, as categories."""

    def categories(texts: Iterator[str] | Sequence[str]) -> pl.Enum:
        return pl.Enum(list(dict.fromkeys(texts)))

    templates = (t for relation in table.relations.values() for t in (*relation.forward, *relation.reverse))
    return {
        "fact": pl.UInt32,
        "subject": pl.String,
        "relation": categories(fact.relation for fact in table),
        "object": pl.String,
        "split": categories(fact.split for fact in table),
        "direction": pl.Enum(DIRECTIONS),
        "template": categories(templates),
        "template_index": pl.UInt16,
        "prompt": pl.String,
        "answer": pl.String,
        "logprob": pl.Float64,
        "logprob_per_token": pl.Float64,
        "answer_tokens": pl.UInt32,
        "rank": pl.UInt32,
        "candidates": pl.UInt32,
        "right_answers": pl.UInt32,
        "exact_match": pl.Boolean,
        "random_logprob": pl.Float64,
        "margin": pl.Float64,
        "chance_uniform": pl.Float64,
        "chance_frequent": pl.Float64,
        "chance_surname": pl.Float64,
        "flag": pl.String,
        "source": pl.String,
    }


def rows_of(
    ask: "Ask", scores: "Scores", table: FactTable, order: Sequence[int], alike: "Alike | None" = None
) -> Iterator[dict[str, Any]]:
    """The rows of one scored ask. `order[question.fact_index]` is the fact's place in the table.

    The rank counts the wrong candidates whose log-probability is strictly greater: other right answers never push
    a right one down, nor does a name whose tokens are the right one's. A question is matched exactly where any of
    its right answers is the greedy one. What `alike` says of a fact's names joins the flags.
    """
    right, total = len(ask.candidates.right), len(ask.candidates.all)
    own = slice(ask.first, ask.first + right)
    wrong = np.sort(scores.logprob[ask.first + right : ask.first + total])
    exact = bool(scores.greedy[own].any())
    random = float(wrong.mean()) if len(wrong) else None
    for question, place, split in zip(ask.questions, ask.own, ask.splits, strict=True):
        fact = table.facts[order[question.fact_index]]
        relation = table.relations[fact.relation]
        templates = relation.forward if question.direction is Direction.FORWARD else relation.reverse
        logprob = float(scores.logprob[ask.first + int(np.searchsorted(ask.candidates.right, place))])
        yield {
            "fact": order[question.fact_index],
            "subject": fact.subject,
            "relation": fact.relation,
            "object": fact.object,
            "split": fact.split,
            "direction": question.direction.value,
            "template": templates[question.template_index],
            "template_index": question.template_index,
            "prompt": question.prompt,
            "answer": question.answer,
            "logprob": logprob,
            "logprob_per_token": logprob / len(split.answer),
            "answer_tokens": len(split.answer),
            "rank": 1 + len(wrong) - int(np.searchsorted(wrong, logprob, side="right")),
            "candidates": total,
            "right_answers": right,
            "exact_match": exact,
            "random_logprob": random,
            "margin": None if random is None else logprob - random,
            "chance_uniform": ask.chance.uniform,
            "chance_frequent": ask.chance.frequent,
            "chance_surname": ask.chance.surname,
            "flag": "; ".join((*split.flags, *(alike.flags(fact) if alike else ()))),
            "source": fact.source,
        }


def with_classes(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the `class` of their fact, in the order of the table.

    A direction counts as known where, for at least half of its templates, the answer matches exactly and,
    should the question have several right answers, no wrong candidate is likelier than this fact's own:
    naming one basketball player does not show that every other one is known. A fact that was not asked both
    forward and in reverse has no class.
    """
    classes = rows.group_by("fact").agg(*known()).select("fact", class_of(*map(pl.col, DIRECTIONS)))
    return rows.join(classes, on="fact", how="left").sort("fact", "direction", "template_index")


def known() -> list[pl.Expr]:
    """For a group of rows of one fact: whether each direction counts as known, null where it was not asked."""
    recalled = pl.col("exact_match") & ((pl.col("right_answers") == 1) | (pl.col("rank") == 1))
    return [
        (recalled.filter(pl.col("direction") == direction).mean() >= 0.5).alias(direction)
        for direction in DIRECTIONS
    ]


def class_of(forward: pl.Expr, reverse: pl.Expr, stated: pl.Expr) -> pl.Expr:
    """The class of a fact by which directions it is known in; null where one of the first two is null."""
    return (
        pl.when(forward.is_null() | reverse.is_null())
        .then(None)
        .when(forward & reverse)
        .then(pl.lit("both_ways"))
        .when(forward)
        .then(pl.lit("forward_only"))
        .when(reverse)
        .then(pl.lit("reverse_only"))
        .when(stated.fill_null(False))
        .then(pl.lit("in_context_only"))
        .otherwise(pl.lit("neither"))
        .cast(pl.Enum(CLASSES))
        .alias("class")
    )


def not_known_both_ways(table: FactTable, rows: pl.DataFrame | None) -> FactTable:
    """The facts that an audit did not find known both ways. Raises ValueError where it asked other facts."""
    if rows is None:
        raise ValueError("the run is no audit: it has no answers fact by fact")
    keys = ("subject", "relation", "object")
    known = set(rows.filter(pl.col("class") == "both_ways").select(keys).iter_rows())
    asked = set(rows.select(keys).iter_rows())
    others = [fact for fact in table if (fact.subject, fact.relation, fact.object) not in asked]
    if others:
        raise ValueError(
            f"{len(others):,} of the facts were not asked in that audit, the first is {others[0].subject!r}: give the "
            "facts that were audited"
        )
    kept = table.with_facts(f for f in table if (f.subject, f.relation, f.object) not in known)
    left = len(table) - len(kept)
    notes = (f"{left:,} facts are known both ways already and left out",) if left else ()
    return replace(kept, notes=table.notes + notes)
