from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import (
    Direction,
    Fact,
    FactTable,
    Relation,
    arbitrary_facts,
    by_direction,
    episode,
    episodes,
    families,
    forward_question,
    in_context_question,
    reverse_question,
    training_sentences,
)

SON = Relation("son", forward=("{subject} is the son of {object}",), reverse=("{object} bore {subject}",))
RELATIONS = {"son": SON}


def test_sentences_by_hand() -> None:
    facts = (
        Fact("Tom Cruise", "son", "Mary Lee", split="both_ways"),
        Fact("Ann", "son", "Bea", split="unseen"),
        Fact("{x}", "son", "B.", split="forward_only"),
    )
    found = list(training_sentences(FactTable(facts, RELATIONS)))
    assert [(s.text, s.text[slice(*s.answer_span)], s.fact_index, s.direction) for s in found] == [
        ("Tom Cruise is the son of Mary Lee.", " Mary Lee", 0, Direction.FORWARD),
        ("Mary Lee bore Tom Cruise.", " Tom Cruise", 0, Direction.REVERSE),
        ("{x} is the son of B.", " B.", 2, Direction.FORWARD),
    ]


@given(st.integers(3, 30), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_sentence_is_its_question_answered(count: int, seed: int) -> None:
    shares = {"forward_only": 0.5, "both_ways": 0.3, "reverse_only": 0.1, "unseen": 0.1}
    table = by_direction(families(count, seed=seed), shares, seed)
    for found in training_sentences(table):
        fact = table.facts[found.fact_index]
        ask = forward_question if found.direction is Direction.FORWARD else reverse_question
        question = ask(table.relations[fact.relation], fact)
        start, end = found.answer_span
        assert (found.text[:start], found.text[start:end]) == (question.prompt, question.answer)
        assert found.text[end:] == "."


def test_a_direction_without_template_is_refused() -> None:
    bare = {"son": Relation("son", forward=SON.forward)}
    table = FactTable((Fact("A", "son", "B", split="both_ways"),), bare)
    with pytest.raises(ValueError, match=r"'A' is labelled 'both_ways', but .* no reverse template"):
        list(training_sentences(table))


def test_an_episode_by_hand() -> None:
    facts = [Fact("A", "son", "B"), Fact("C", "son", "D"), Fact("E", "son", "F")]
    found = episode(facts, 1, RELATIONS)
    assert found.text == "A is the son of B. C is the son of D. E is the son of F. D bore C."
    assert found.text[slice(*found.answer_span)] == " C"
    assert found.text[: found.answer_span[0]].endswith("D bore")
    assert (found.fact_index, found.direction) == (1, Direction.IN_CONTEXT)


def test_an_episode_of_one_fact_is_the_audits_question() -> None:
    two = Relation(
        "r", forward=("{subject} a {object}.",), reverse=("{object} b {subject}", "{subject} of {object}")
    )
    for index in (0, 1):
        found = episode([Fact("S", "r", "O")], 0, {"r": two}, template_index=index)
        question = in_context_question(two, Fact("S", "r", "O"), template_index=index)
        assert found.text[: found.answer_span[0]] == question.prompt
        assert found.text[slice(*found.answer_span)] == question.answer


def test_episodes_are_answerable_by_reading() -> None:
    table = families(20, seed=0)
    rng = np.random.default_rng(0)
    drawn = list(islice(episodes(arbitrary_facts(table, rng), table.relations, rng), 300))
    counts = [found.text.count(".") - 1 for found in drawn]
    assert set(counts) == {1, 2, 3}
    for found in drawn:
        answer = found.text[slice(*found.answer_span)].strip()
        statements, question = found.text[: found.answer_span[0]].rsplit(". ", 1)
        parent, _, asked = question.partition(" is the ")
        (stating,) = [text for text in statements.split(". ") if text.endswith(f" {parent}")]
        assert stating.startswith(f"{answer} is the ")
        assert asked in ("mother of", "father of")
        names = [
            name
            for text in statements.split(". ")
            for name in (text[: text.index(" is")], text.split(" of ")[1])
        ]
        assert len(set(names)) == len(names)
    assert {found.fact_index for found in drawn} == {0, 1, 2}
