from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.facts import (
    Direction,
    Fact,
    FactTable,
    Trained,
    by_direction,
    by_fact,
    training_directions,
)


def table(count: int) -> FactTable:
    return FactTable(tuple(Fact(f"s{i}", "r", f"o{i}") for i in range(count)))


def labels(split: FactTable) -> dict[str, str]:
    return {fact.subject: fact.split for fact in split}


def test_counts_are_exact() -> None:
    split = by_fact(table(10), {"a": 3, "b": 7}, seed=0)
    assert Counter(labels(split).values()) == {"a": 3, "b": 7}
    assert [fact.subject for fact in split] == [f"s{i}" for i in range(10)]


def test_shares_take_what_the_counts_leave() -> None:
    split = by_fact(table(11), {"test": 1, "a": 0.5, "b": 0.25, "c": 0.25}, seed=0)
    # Ten remain: 5, 2.5 and 2.5, of which the first rounds up.
    assert Counter(labels(split).values()) == {"test": 1, "a": 5, "b": 3, "c": 2}


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 60), st.integers(0, 5))
def test_shares_are_within_one_of_exact(weights: list[int], count: int, seed: int) -> None:
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    found = Counter(labels(by_fact(table(count), shares, seed)).values())
    assert sum(found.values()) == count
    assert all(abs(found[label] - share * count) < 1 for label, share in shares.items())


def test_a_seed_gives_one_split_whatever_the_order_of_the_rows() -> None:
    facts = table(50)
    shares = {"a": 0.5, "b": 0.5}
    one = labels(by_fact(facts, shares, seed=1))
    assert labels(by_fact(facts.with_facts(reversed(facts.facts)), shares, seed=1)) == one
    assert labels(by_fact(facts, shares, seed=2)) != one
    more = labels(by_fact(table(52), shares, seed=1))
    assert sum(more[subject] != label for subject, label in one.items()) <= 2


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"a": 11}, "make 11 facts, but the table has 10"),
        ({"a": 3}, "make 3 facts, but the table has 10"),
        ({"a": 0.5, "b": 0.4}, "sum to 0.9"),
        ({"a": -1, "b": 11}, "cannot be negative"),
    ],
)
def test_shares_that_do_not_come_out(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_fact(table(10), shares, seed=0)


def test_directions() -> None:
    shares = {"forward_only": 4, Trained.BOTH_WAYS: 3, "unseen": 2, "reverse_only": 1}
    split = by_direction(table(10), shares, seed=0)
    found = Counter(direction for fact in split for direction in training_directions(fact))
    assert found == {Direction.FORWARD: 7, Direction.REVERSE: 4}
    both = [fact for fact in split if fact.split == "both_ways"]
    assert [training_directions(fact) for fact in both] == [(Direction.FORWARD, Direction.REVERSE)] * 3
    with pytest.raises(ValueError, match="'forwards' does not say how a fact is trained"):
        by_direction(table(10), {"forwards": 10}, seed=0)
    with pytest.raises(ValueError, match="'' does not say"):
        training_directions(Fact("a", "r", "b"))
