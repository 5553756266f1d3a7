from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Direction, Trained, arrows, families, load_relations, questions, training_directions
from oneway.facts.worlds import LEFT, RIGHT


@pytest.mark.parametrize(
    ("length", "train", "validation"),
    [(1, 2 * 140 + 60, 60), (2, 2 * 280 + 120, 120), (3, 2 * 100 + 50, 50)],
)
def test_the_published_sizes(length: int, train: int, validation: int) -> None:
    world = arrows(800, length, seed=3)
    assert world.train.shape == (train, 2 * length + 1)
    assert world.validation.shape == (validation, 2 * length + 1)
    assert world.train.dtype == world.validation.dtype == np.int64
    assert world.vocabulary_size == 802
    assert world.train_both_ways.sum() == train - validation


@given(st.integers(8, 80), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_arrows_hold_what_they_say(vocabulary: int, length: int, seed: int) -> None:
    world = arrows(vocabulary, length, seed=seed)
    for entities in (world.x, world.y):
        assert len(np.unique(entities, axis=0)) == len(entities)
    for entities, tokens in ((world.x, world.x_tokens), (world.y, world.y_tokens)):
        assert entities.min() >= tokens.start
        assert entities.max() < tokens.stop
    assert (world.x_tokens.start, world.x_tokens.stop) == (2, world.y_tokens.start)
    assert world.y_tokens.stop <= world.vocabulary_size == vocabulary + 2

    def check(sentence: np.ndarray, pair: int) -> int:
        arrow = int(sentence[length])
        first, second = (world.x, world.y) if arrow == RIGHT else (world.y, world.x)
        assert arrow in (RIGHT, LEFT)
        assert sentence[:length].tolist() == first[pair].tolist()
        assert sentence[world.answer].tolist() == second[pair].tolist()
        return arrow

    stated: dict[int, list[int]] = {}
    for sentence, pair in zip(world.train, world.train_pair.tolist(), strict=True):
        stated.setdefault(pair, []).append(check(sentence, pair))
    assert set(stated) == set(range(len(world.x)))
    for index, pair in enumerate(world.train_pair.tolist()):
        assert world.train_both_ways[index] == (sorted(stated[pair]) == [RIGHT, LEFT])
    for sentence, pair, seen in zip(
        world.validation, world.validation_pair.tolist(), world.counterpart.tolist(), strict=True
    ):
        assert stated[pair] == [1 - check(sentence, pair)]
        assert world.train_pair[seen] == pair
    assert Counter(world.validation_pair.tolist()).most_common(1)[0][1] == 1


def test_arrows_are_a_function_of_the_seed() -> None:
    assert np.array_equal(arrows(seed=1).train, arrows(seed=1).train)
    assert not np.array_equal(arrows(seed=1).train, arrows(seed=2).train)
    # Of the one-way pairs about half are trained forward: 60 fair coins over 20 seeds.
    held_out_reverse = [int((arrows(seed=seed).validation[:, 1] == LEFT).sum()) for seed in range(20)]
    assert 20 * 30 - 4 * np.sqrt(20 * 60) / 2 < sum(held_out_reverse) < 20 * 30 + 4 * np.sqrt(20 * 60) / 2


@pytest.mark.parametrize(("vocabulary", "length"), [(7, 1), (800, 0)])
def test_impossible_arrows(vocabulary: int, length: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        arrows(vocabulary, length, seed=0)


def test_arrows_as_a_table() -> None:
    world = arrows(40, 2, seed=5)
    table = world.table()
    assert Counter(fact.split for fact in table)["both_ways"] == 14
    expected = Counter({Direction.FORWARD: 0, Direction.REVERSE: 0})
    for sentence in world.train:
        expected[Direction.FORWARD if sentence[2] == RIGHT else Direction.REVERSE] += 1
    assert Counter(d for fact in table for d in training_directions(fact)) == expected
    first = next(questions(table, [Direction.FORWARD]))
    x, y = world.x[0] - world.x_tokens.start, world.y[0] - world.y_tokens.start
    assert first.prompt == f"x{x[0]} x{x[1]} →"
    assert first.answer == f" y{y[0]} y{y[1]}"


@given(st.integers(1, 120), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_families(count: int, same_surname: float, seed: int) -> None:
    table = families(count, seed=seed, same_surname=same_surname)
    people = [name for fact in table for name in (fact.subject, fact.object)]
    assert len(table) == count
    assert len(set(people)) == 2 * count
    assert all(len(name.split()) == 2 and name.istitle() for name in people)
    shared = sum(fact.subject.split()[1] == fact.object.split()[1] for fact in table)
    assert shared == round(same_surname * count)
    assert table.relations == load_relations("parents")
    assert {fact.relation for fact in table} <= set(table.relations)
    assert {fact.split for fact in table} == {Trained.FORWARD_ONLY}
    assert table == families(count, seed=seed, same_surname=same_surname)
