"""Ranks, margins and classes, by hand."""

import numpy as np
import polars as pl
import pytest

from oneway.facts import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import questions
from oneway.recall.asking import Ask, AuditConfig, gather
from oneway.recall.candidates import Pools
from oneway.recall.rows import CLASSES, rows_of, with_classes
from oneway.recall.scorer import Scores
from oneway.recall.spans import Split

SPORT = Relation("sport", ("{subject} plays {object}",), ("{object} is played by {subject}",))
TABLE = FactTable(
    (
        Fact("Ann", "sport", "golf", source="facts.csv:2"),
        Fact("Bob", "sport", "golf"),
        Fact("Cid", "sport", "chess"),
        Fact("Dan", "sport", "judo"),
    ),
    {"sport": SPORT},
)


def asked(direction: Direction) -> list[Ask]:
    asks = gather(questions(TABLE, (direction,)), TABLE.facts, Pools(TABLE), AuditConfig())
    for ask in asks:
        ask.first, ask.splits = 0, [Split((1,), (2, 3))] * len(ask.questions)
    return asks


def test_rank_counts_only_wrong_candidates_that_are_strictly_better():
    (golf, _, _) = asked(Direction.REVERSE)
    assert [golf.pool.names[place] for place in golf.candidates.all] == ["Ann", "Bob", "Cid", "Dan"]
    # Bob, right too, is better than Ann and does not push her down; Dan ties with her and does not either.
    scores = Scores(np.array([-3.0, -1.0, -2.0, -3.0]), np.array([False, True, False, False]))
    ann, bob = rows_of(golf, scores, TABLE, range(4))
    assert (ann["rank"], bob["rank"]) == (2, 1)
    assert (ann["candidates"], ann["right_answers"]) == (4, 2)
    assert (ann["logprob"], ann["logprob_per_token"], ann["answer_tokens"]) == (-3.0, -1.5, 2)
    assert (ann["random_logprob"], ann["margin"], bob["margin"]) == (-2.5, -0.5, 1.5)
    assert ann["exact_match"], "Bob, a right answer, is the greedy one"
    assert (ann["source"], ann["prompt"], ann["answer"]) == ("facts.csv:2", "golf is played by", " Ann")


def test_in_context_another_right_answer_is_no_match():
    ann = asked(Direction.IN_CONTEXT)[0]
    assert [ann.pool.names[place] for place in ann.candidates.all] == ["Ann", "Cid", "Dan"]
    scores = Scores(np.array([-3.0, -2.0, -1.0]), np.array([False, True, False]))
    (row,) = rows_of(ann, scores, TABLE, range(4))
    assert (row["rank"], row["exact_match"], row["right_answers"]) == (3, False, 1)


def test_questions_with_one_prompt_are_one_ask_and_those_of_other_facts_are_not():
    assert [len(ask.questions) for ask in asked(Direction.REVERSE)] == [2, 1, 1]
    assert [len(ask.questions) for ask in asked(Direction.IN_CONTEXT)] == [1, 1, 1, 1]


def test_without_wrong_candidates_there_is_no_margin():
    table = FactTable((Fact("Ann", "sport", "golf"),), {"sport": SPORT})
    (ask,) = gather(questions(table, (Direction.FORWARD,)), table.facts, Pools(table), AuditConfig())
    ask.first, ask.splits = 0, [Split((1,), (2,))]
    (row,) = rows_of(ask, Scores(np.array([-1.0]), np.array([True])), table, [0])
    assert (row["rank"], row["random_logprob"], row["margin"]) == (1, None, None)


F, R, C = Direction.FORWARD, Direction.REVERSE, Direction.IN_CONTEXT


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ({F: [True], R: [True], C: [False]}, "both_ways"),
        ({F: [True], R: [False], C: [True]}, "forward_only"),
        ({F: [False], R: [True], C: [True]}, "reverse_only"),
        ({F: [False], R: [False], C: [True]}, "in_context_only"),
        ({F: [False], R: [False], C: [False]}, "neither"),
        # Half of the templates are enough, a third is not.
        ({F: [True, False], R: [True, False, False], C: [False]}, "forward_only"),
        ({F: [False, True, False], R: [False, False], C: [True, False]}, "in_context_only"),
        # In context may go unasked; forward and reverse may not.
        ({F: [False], R: [False]}, "neither"),
        ({F: [True]}, None),
        ({R: [True], C: [True]}, None),
    ],
)
def test_class_of_a_fact(matches, expected):
    rows = [
        {
            "fact": fact,
            "direction": direction.value,
            "template_index": i,
            "exact_match": match,
            "right_answers": 1,
            "rank": 2,  # greedy decoding is right though another whole answer is likelier
        }
        for fact, given in ((0, {F: [True], R: [True]}), (1, matches))
        for direction, found in given.items()
        for i, match in enumerate(found)
    ]
    schema = {"direction": pl.Enum([direction.value for direction in Direction])}
    found = with_classes(pl.DataFrame(rows, schema_overrides=schema).reverse())
    assert found["fact"].is_sorted()
    assert found.filter(pl.col("fact") == 1)["class"].unique().to_list() == [expected]
    assert found.filter(pl.col("fact") == 0)["class"].unique().to_list() == ["both_ways"]
    assert found["class"].dtype == pl.Enum(CLASSES)


def test_another_right_answer_does_not_make_a_fact_known():
    base = {"template_index": 0, "exact_match": True}
    rows = [
        base | {"fact": fact, "direction": direction.value, "right_answers": right, "rank": rank}
        for fact, rank in ((0, 1), (1, 7))
        for direction, right in ((F, 1), (R, 500))
    ]
    schema = {"direction": pl.Enum([direction.value for direction in Direction])}
    found = with_classes(pl.DataFrame(rows, schema_overrides=schema))
    assert found["class"].to_list() == ["both_ways", "both_ways", "forward_only", "forward_only"]
