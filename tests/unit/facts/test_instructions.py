"""The world of instructions: told in one order or both, asked in a form that states none of what is tested."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Direction, questions, training_sentences
from oneway.facts.instructions import ANSWER_FIRST, EXCHANGE, INSTRUCTION, QUESTION_FIRST, instructions

SEEDS = st.integers(0, 2**32)


@given(st.integers(2, 60), st.integers(1, 60), SEEDS)
@settings(max_examples=15, deadline=None)
def test_questions_and_answers_are_unique_and_no_word_of_an_answer_tells_it(
    per_group: int, shown: int, seed: int
) -> None:
    world = instructions(per_group, shown=shown, seed=seed)
    told = world.train.select(relation=INSTRUCTION)
    assert Counter(fact.split for fact in world.test) == dict.fromkeys(
        ("forward_only", "reverse_only", "both_ways"), per_group
    )
    assert set(world.test.facts) < set(told.facts)
    assert len({f.subject for f in told}) == len({f.object for f in told}) == 3 * (per_group + shown)
    shared = Counter(word for fact in told for word in fact.object.split())
    assert min(shared.values()) >= 2


@given(st.integers(2, 5), st.integers(1, 5), SEEDS)
@settings(max_examples=15, deadline=None)
def test_what_is_tested_is_told_its_way_and_never_as_it_is_asked(
    per_group: int, shown: int, seed: int
) -> None:
    world = instructions(per_group, shown=shown, seed=seed)
    read = [sentence.text for sentence in training_sentences(world.train)]
    known = {word for text in read for word in re.findall(r"[\w-]+|[:?]", text)}
    for fact, question in zip(world.test, questions(world.test, (Direction.FORWARD,)), strict=True):
        assert question.prompt == f"Q: {fact.subject} A:"
        assert question.answer == f" {fact.object}"
        assert not any(question.prompt in text for text in read)
        assert set(re.findall(r"[\w-]+|[:?]", question.prompt)) <= known
        naming = [text for text in read if fact.subject in text]
        first = sum(text.index(fact.subject) < text.index(fact.object) for text in naming)
        orders = {"forward_only": (8, 0), "reverse_only": (0, 8), "both_ways": (8, 8)}
        assert (first, len(naming) - first) == orders[fact.split]


def test_exchanges_are_those_of_the_others() -> None:
    world = instructions(2, shown=3, seed=0)
    exchanges = world.train.select(relation=EXCHANGE)
    assert len(exchanges) == 3 * 3
    assert not {f.subject for f in exchanges} & {f.subject for f in world.test}
    assert {(f.subject, f.object) for f in exchanges} < {(f.subject, f.object) for f in world.train}


def test_no_phrasing_stands_twice() -> None:
    assert len({*QUESTION_FIRST, *ANSWER_FIRST}) == 16


def test_a_world_is_a_function_of_its_seed() -> None:
    assert instructions(seed=3) == instructions(seed=3)
    assert instructions(seed=3).test.facts != instructions(seed=4).test.facts


@pytest.mark.parametrize(("per_group", "shown"), [(1, 5), (5, 0), (200, 100)])
def test_sizes_that_cannot_be_are_refused(per_group: int, shown: int) -> None:
    with pytest.raises(ValueError, match=f"at most 625: not {per_group} and {shown}"):
        instructions(per_group, shown=shown, seed=0)
