"""Facts one way or both, and episodes of several statements."""

import numpy as np
import pytest

from oneway.facts.recollections import (
    LEFT,
    RIGHT,
    SAME,
    episode,
    episodes_drawn,
    facts_drawn,
    forward,
    recollections,
    reverse,
)


def test_an_episode_states_all_and_asks_for_one() -> None:
    x, y = np.array([[3, 4]]), np.array([[20, 21]])
    assert episode(x, y, np.array([1])).tolist() == [
        [3, RIGHT, 20, 4, RIGHT, 21, SAME, LEFT, 21, 4],
    ]
    assert forward(x[0], y[0]).tolist()[0] == [3, RIGHT, 20]
    assert reverse(x[0], y[0]).tolist()[0] == [LEFT, 20, 3]


def test_facts_are_drawn_in_their_trained_directions_only() -> None:
    world = recollections(6, seed=4)
    found = {tuple(fact) for fact in facts_drawn(world, 400, np.random.default_rng(0)).tolist()}
    wanted = {(x, RIGHT, y) for x, y in zip(world.x.tolist(), world.y.tolist(), strict=True)}
    wanted |= {(LEFT, y, x) for x, y in zip(world.x[:3].tolist(), world.y[:3].tolist(), strict=True)}
    assert found == wanted
    assert world.one_way.tolist() == [3, 4, 5]


def test_episodes_say_nothing_of_the_facts() -> None:
    """Distinct entities, and of every y each x is stated about equally often, the true one too."""
    world = recollections(4, seed=4)
    drawn = episodes_drawn(world, 8000, 2, np.random.default_rng(0))
    assert (drawn[:, 0] != drawn[:, 3]).all()
    assert (drawn[:, 2] != drawn[:, 5]).all()
    answered = np.where(drawn[:, 8] == drawn[:, 2], drawn[:, 0], drawn[:, 3])
    assert (answered == drawn[:, 9]).all()
    counts = np.array([[((drawn[:, 8] == y) & (drawn[:, 9] == x)).sum() for x in world.x] for y in world.y])
    assert counts.sum() == 8000
    assert abs(counts - 500).max() < 5 * 500**0.5


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        recollections(3, seed=0)
