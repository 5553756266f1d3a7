"""The world of identities: nobody is told by one word, and what tests was never read."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Direction, identities, identity_texts, questions, training_sentences
from oneway.facts.fact import OBJECT_SLOT, SUBJECT_SLOT
from oneway.facts.fictitious import FORWARD, GROUPS, IDENTITY, REVERSE
from oneway.facts.rendering import parse

SIZES = st.integers(2, 60)
SEEDS = st.integers(0, 2**32)


def words(text: str) -> list[str]:
    """Words, marks and slots of a text."""
    return re.findall(r"\{\w+\}|[\w-]+|[.,;:!?]", text)


@given(SIZES, SEEDS, st.integers(1, 39))
@settings(max_examples=40, deadline=None)
def test_names_and_descriptions_are_distinct_and_share_their_words(
    per_group: int, seed: int, phrasings: int
) -> None:
    world = identities(per_group, seed=seed, phrasings=phrasings)
    assert world.train.facts == world.test.facts
    assert Counter(fact.split for fact in world.train) == {group.value: per_group for group in GROUPS}
    names = [fact.subject for fact in world.train]
    descriptions = [fact.object for fact in world.train]
    assert len(set(names)) == len(set(descriptions)) == 3 * per_group
    assert all(len(name.split()) == 2 for name in names)
    assert all(len(description.split()) == 7 for description in descriptions)
    for texts in (names, descriptions):
        shared = Counter(word for text in texts for word in set(text.split()))
        assert min(shared.values()) >= 2
    assert not {w for name in names for w in name.split()} & {w for d in descriptions for w in d.split()}


@given(st.integers(2, 6), SEEDS, st.integers(1, 39))
@settings(max_examples=15, deadline=None)
def test_no_phrasing_that_tests_was_trained(per_group: int, seed: int, phrasings: int) -> None:
    world = identities(per_group, seed=seed, phrasings=phrasings)
    trained, tested = world.train.relations[IDENTITY], world.test.relations[IDENTITY]
    for mine, others in ((trained.forward, tested.forward), (trained.reverse, tested.reverse)):
        assert len(mine) == phrasings
        assert len({*mine, *others}) == 40
    read = {sentence.text for sentence in training_sentences(world.train)}
    for question in questions(world.test, (Direction.FORWARD, Direction.REVERSE)):
        assert f"{question.prompt}{question.answer}." not in read


def test_the_published_numbers() -> None:
    world = identities(seed=0)
    sentences = list(training_sentences(world.train))
    # 30 facts × 30 phrasings: one direction, the other, and both.
    assert Counter(s.direction for s in sentences) == {Direction.FORWARD: 1800, Direction.REVERSE: 1800}
    assert len({s.text for s in sentences}) == 3600
    assert len(list(questions(world.test, (Direction.REVERSE,)))) == 90 * 10


def test_a_world_is_a_function_of_its_seed() -> None:
    assert identities(seed=3) == identities(seed=3)
    assert identities(seed=3).train.facts != identities(seed=4).train.facts


@pytest.mark.parametrize(
    ("templates", "first", "answer"),
    [(FORWARD, SUBJECT_SLOT, OBJECT_SLOT), (REVERSE, OBJECT_SLOT, SUBJECT_SLOT)],
    ids=["forward", "reverse"],
)
def test_a_model_that_has_read_the_first_thirty_can_know_that_an_answer_is_due(
    templates, first, answer
) -> None:
    assert len(templates) == len(set(templates)) == 40
    for template in templates:
        assert parse(template).subject_first == (first == SUBJECT_SLOT)
    known = {word for template in templates[:30] for word in words(template)}
    before = {tuple(words(template[: template.index(answer)])[-2:]) for template in templates[:30]}
    for template in templates[30:]:
        assert set(words(template)) <= known
        assert tuple(words(template[: template.index(answer)])[-2:]) in before


@given(st.integers(2, 12), SEEDS)
@settings(max_examples=10, deadline=None)
def test_all_worlds_share_one_vocabulary(per_group: int, seed: int) -> None:
    known = {word for text in identity_texts() for word in words(text)}
    world = identities(per_group, seed=seed)
    for fact in world.train:
        assert {*words(fact.subject), *words(fact.object)} <= known
    assert {word for sentence in training_sentences(world.train) for word in words(sentence.text)} <= known


@pytest.mark.parametrize("per_group", [-1, 1, 301])
def test_impossible_sizes(per_group: int) -> None:
    with pytest.raises(ValueError, match="2 to 300 facts"):
        identities(per_group, seed=0)


@pytest.mark.parametrize("phrasings", [0, 40])
def test_phrasings_must_leave_some_to_train_and_some_to_test(phrasings: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 39"):
        identities(seed=0, phrasings=phrasings)
