"""Who is right, what else is asked, and what a guesser without facts would reach; all by hand."""

import numpy as np
import pytest

from oneway.facts import Direction, Fact, FactTable
from oneway.recall.candidates import Chance, Pool, Pools

TABLE = FactTable(
    (
        Fact("Ann Lee", "sport", "golf", aliases=("golfing",)),
        Fact("Bob Lee", "sport", "golf"),
        Fact("Cid Roe", "sport", "chess"),
        Fact("Cid Roe", "sport", "judo"),
        Fact("Dan Roe", "mother", "Eve Roe"),
        Fact("Fay Roe", "mother", "Gil Poe"),
        Fact("Hal Poe", "mother", "Eve Roe"),
    )
)


def names(pool: Pool, places: np.ndarray) -> list[str]:
    return [pool.names[place] for place in places]


def test_right_answers_are_sets_with_aliases():
    pools = Pools(TABLE)
    sports, players = pools.of("sport", Direction.FORWARD), pools.of("sport", Direction.REVERSE)
    assert names(sports, pools.right("sport", Direction.FORWARD, "Ann Lee")) == ["golf", "golfing"]
    assert names(sports, pools.right("sport", Direction.FORWARD, "Cid Roe")) == ["chess", "judo"]
    assert names(players, pools.right("sport", Direction.IN_CONTEXT, "golf")) == ["Ann Lee", "Bob Lee"]


def test_all_answers_of_the_relation_are_candidates_but_no_alias_of_another_fact():
    pools = Pools(TABLE)
    sports = pools.of("sport", Direction.FORWARD)
    right = pools.right("sport", Direction.FORWARD, "Bob Lee")
    found = sports.candidates(right, 200, (0, "Bob Lee"))
    assert names(sports, found.right) == ["golf"]
    assert sorted(names(sports, found.wrong)) == ["chess", "judo"]


def test_in_context_only_what_was_stated_is_right_and_other_right_ones_are_left_out():
    pools = Pools(TABLE)
    children = pools.of("mother", Direction.IN_CONTEXT)
    right = pools.right("mother", Direction.IN_CONTEXT, "Eve Roe")
    found = children.candidates(right, 200, (0, "Eve Roe"), only=children.place["Hal Poe"])
    assert names(children, found.right) == ["Hal Poe"]
    assert names(children, found.wrong) == ["Fay Roe"]


def test_a_draw_has_the_right_ones_and_depends_on_nothing_but_its_key():
    pool = Pool.of([f"name {i}" for i in range(1000)])
    right = pool.places(["name 7", "name 900"])
    found = pool.candidates(right, 20, (0, "question"))
    assert names(pool, found.right) == ["name 7", "name 900"]
    assert len(set(found.wrong)) == len(found.wrong) >= 18
    assert not set(found.wrong) & set(found.right)
    again = Pool.of([f"name {i}" for i in range(1000)]).candidates(right, 20, (0, "question"))
    np.testing.assert_array_equal(found.wrong, again.wrong)
    assert set(pool.candidates(right, 20, (1, "question")).wrong) != set(found.wrong)
    assert set(pool.candidates(right, 20, (0, "another")).wrong) != set(found.wrong)


def test_draws_are_uniform_over_the_wrong_answers():
    pool = Pool.of([f"name {i}" for i in range(50)])
    right = pool.places(["name 0"])
    drawn = [pool.candidates(right, 10, (0, f"question {i}")).wrong for i in range(2000)]
    counts = np.bincount(np.concatenate(drawn), minlength=50)
    assert counts[0] == 0
    # Each of the 49 is drawn with probability 1/5: 400 expected, standard deviation 17.9.
    assert abs(counts[1:] - 400).max() < 5 * 17.9


@pytest.mark.parametrize(
    ("relation", "direction", "given", "only", "expected"),
    [
        # Objects golf (2 facts), chess, judo; no sport ends in "Lee": any of the three.
        ("sport", Direction.FORWARD, "Bob Lee", None, Chance(1 / 3, 1.0, 1 / 3)),
        # The alias is no third of golf.
        ("sport", Direction.FORWARD, "Ann Lee", None, Chance(1 / 3, 1.0, 1 / 3)),
        ("sport", Direction.FORWARD, "Cid Roe", None, Chance(2 / 3, 0.0, 2 / 3)),
        # Mothers Eve Roe (2 facts) and Gil Poe: the surname guesser says Eve Roe.
        ("mother", Direction.FORWARD, "Dan Roe", None, Chance(1 / 2, 1.0, 1.0)),
        ("mother", Direction.FORWARD, "Fay Roe", None, Chance(1 / 2, 0.0, 0.0)),
        # Children Dan Roe, Fay Roe, Hal Poe: two are right, one of the two Roes is.
        ("mother", Direction.REVERSE, "Eve Roe", None, Chance(2 / 3, 2 / 3, 1 / 2)),
        # In context Hal was stated and Dan is left out: Fay or Hal, and the only Roe is Fay.
        ("mother", Direction.IN_CONTEXT, "Eve Roe", "Hal Poe", Chance(1 / 2, 1 / 2, 0.0)),
        # Golf was stated of Ann: Bob is left out; Ann or Cid. Cid has two facts and is the most frequent.
        ("sport", Direction.IN_CONTEXT, "golf", "Ann Lee", Chance(1 / 2, 0.0, 1 / 2)),
    ],
)
def test_chance_by_hand(relation, direction, given, only, expected):
    pools = Pools(TABLE)
    pool = pools.of(relation, direction)
    right = pools.right(relation, direction, given)
    found = pool.chance(right, given, only=None if only is None else pool.place[only])
    assert (found.uniform, found.frequent, found.surname) == pytest.approx(
        (expected.uniform, expected.frequent, expected.surname)
    )


def test_where_the_most_frequent_answers_are_left_out_the_next_is_guessed():
    """x is asked of a (twice), b, c; y of c. In context of (b, x): a and c are left out of a, b, c, d."""
    pool = Pool.of(["a", "a", "b", "c", "c", "d"])
    found = pool.chance(pool.places(["a", "b", "c"]), "x", only=pool.place["b"])
    assert (found.uniform, found.frequent) == (1 / 2, 1 / 2)


def test_other_spellings_of_a_subject_are_right_in_reverse_and_never_drawn_as_wrong():
    table = FactTable(
        (
            Fact("Ann Lee", "sport", "golf", subject_aliases=("A. Lee", "Annie Lee")),
            Fact("Bob Lee", "sport", "golf", subject_aliases=("Cid Roe",)),
            Fact("Cid Roe", "sport", "chess", subject_aliases=("C. Roe",)),
        )
    )
    pools = Pools(table)
    players = pools.of("sport", Direction.REVERSE)
    right = pools.right("sport", Direction.REVERSE, "golf")
    assert sorted(names(players, right)) == ["A. Lee", "Ann Lee", "Annie Lee", "Bob Lee", "Cid Roe"]
    # Cid Roe is right here only as a spelling of Bob Lee; of chess both names of his own are.
    assert names(players, players.candidates(right, 200, (0, "golf")).wrong) == []
    right = pools.right("sport", Direction.REVERSE, "chess")
    found = players.candidates(right, 200, (0, "chess"))
    assert sorted(names(players, found.right)) == ["C. Roe", "Cid Roe"]
    assert sorted(names(players, found.wrong)) == ["Ann Lee", "Bob Lee"]
    # Stated in context, the subject as it was stated is right, its other spellings are left out.
    right = pools.right("sport", Direction.IN_CONTEXT, "golf")
    found = players.candidates(right, 200, (0, "golf"), only=players.place["Bob Lee"])
    assert names(players, found.right) == ["Bob Lee"]
    assert names(players, found.wrong) == []
    # Chance: 3 names may be guessed; two of them are right.
    right = pools.right("sport", Direction.REVERSE, "chess")
    assert players.chance(right, "chess").uniform == pytest.approx(1 / 3)
