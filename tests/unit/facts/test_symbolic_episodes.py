"""Episodes and what a lesson may state, counted by hand."""

import numpy as np
import pytest

from oneway.facts.symbolic_episodes import (
    BLANK,
    LEFT,
    LENGTH,
    RIGHT,
    SAME,
    asked,
    crossed,
    known,
    lesson,
    stated,
)


def test_an_episode_states_and_asks() -> None:
    x, y = np.array([7, 8]), np.array([20, 21])
    assert stated(x, y).tolist() == [[7, RIGHT, 20, SAME, 20, LEFT, 7], [8, RIGHT, 21, SAME, 21, LEFT, 8]]
    assert asked(y, LEFT, x).tolist()[0] == [BLANK] * 4 + [20, LEFT, 7]


def test_of_each_x_the_same_number_of_ys_is_held_out() -> None:
    world = crossed(6, 5, seed=2, held_out=2)
    assert (world.train.shape, world.validation.shape) == ((18, LENGTH), (12, LENGTH))
    pairs = [{(x, y) for x, _, y, *_ in part.tolist()} for part in (world.train, world.validation)]
    assert not pairs[0] & pairs[1]
    assert pairs[0] | pairs[1] == {(x, y) for x in range(4, 10) for y in range(10, 15)}
    assert {x: sum(first == x for first, _ in pairs[1]) for x in range(4, 10)} == dict.fromkeys(
        range(4, 10), 2
    )
    assert world.vocabulary_size == 15
    default = crossed(seed=0)
    assert (len(default.train), len(default.validation)) == (700, 300)


@pytest.mark.parametrize("held_out", [0, 5])
def test_all_or_none_cannot_be_held_out(held_out: int) -> None:
    with pytest.raises(ValueError, match="held out"):
        crossed(6, 5, seed=2, held_out=held_out)


def test_fewer_than_two_facts_cannot_be_re_paired() -> None:
    with pytest.raises(ValueError, match="re-paired"):
        known(1, seed=0)


@pytest.mark.parametrize("agreeing", [0.0, 1.0])
def test_a_lesson_states_only_what_it_may(agreeing: float) -> None:
    """Every sequence of many lessons is a fact in a trained direction or an allowed episode."""
    world = known(4, seed=3)
    rng = np.random.default_rng(0)
    sequences = np.concatenate([lesson(world, 40, agreeing, rng) for _ in range(60)])
    x_of = {token: i for i, token in enumerate(world.x.tolist())}
    y_of = {token: i for i, token in enumerate(world.y.tolist())}
    seen = set()
    for first, _, middle, same, asked_first, arrow, last in sequences.tolist():
        if first == BLANK:
            assert (middle, same) == (BLANK, BLANK)
            i = (x_of if arrow == RIGHT else y_of)[asked_first]
            assert (y_of if arrow == RIGHT else x_of)[last] == i
            seen.add((arrow, "both" if i < 4 else "one way" if i < 8 else "unknown"))
            continue
        i, j = x_of[first], y_of[middle]
        assert (same, asked_first, arrow, last) == (SAME, middle, LEFT, first)
        if i >= 8 or j >= 8:
            assert min(i, j) >= 8
            assert world.trained[i, j]
            seen.add("unknown")
        elif agreeing:
            assert i == j < 4
            seen.add("true")
        else:
            assert world.trained[i, j]
            seen.add("re-paired")
    about = "true" if agreeing else "re-paired"
    assert seen == {(RIGHT, "both"), (LEFT, "both"), (RIGHT, "one way"), "unknown", about}


def test_what_is_held_out_is_never_trained_and_never_true() -> None:
    world = known(10, seed=1)
    part = slice(0, 10)
    held_out = world.held_out(part, part)
    assert len(held_out)
    assert not world.trained[held_out[:, 0], held_out[:, 1]].any()
    assert (held_out[:, 0] != held_out[:, 1]).all()
    assert held_out.max() < 10
    assert len(held_out) + world.trained[part, part].sum() == 90
    assert not world.trained[:20, 20:].any()
    assert not world.trained[20:, :20].any()
