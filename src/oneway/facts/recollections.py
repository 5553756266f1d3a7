"""Facts told one way or both ways, and episodes that state several pairs and ask for one of them in reverse."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

RIGHT, LEFT, SAME = 0, 1, 2  # the tokens of `x → y`, of `← y x` and ⇔
_FIRST_ENTITY = 3


@dataclass(frozen=True)
class Recollections:
    """Facts x_i → y_i; the first ones are trained in both directions, the others forward only."""

    x: Int[np.ndarray, " pair"]
    y: Int[np.ndarray, " pair"]
    both_ways: int  # how many facts, the first ones, are also trained as `← y x`
    vocabulary_size: int

    @property
    def one_way(self) -> Int[np.ndarray, " one_way"]:
        """The facts that are trained forward only."""
        return np.arange(self.both_ways, len(self.x))


def recollections(pairs: int = 16, *, seed: int) -> Recollections:
    """A random world, half of it both ways. Raises ValueError for fewer than four pairs."""
    if pairs < 4:
        raise ValueError(f"{pairs} pairs are too few: at least 4 are needed")
    rng = np.random.default_rng(seed)
    x, y = _FIRST_ENTITY + rng.permutation(pairs), _FIRST_ENTITY + pairs + rng.permutation(pairs)
    return Recollections(x.astype(np.int64), y.astype(np.int64), pairs // 2, _FIRST_ENTITY + 2 * pairs)


def forward(x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    """`x → y`."""
    return np.stack([x, np.full_like(x, RIGHT), y], axis=1)


def reverse(x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    """`← y x`: which x leads to y."""
    return np.stack([np.full_like(y, LEFT), y, x], axis=1)


def episode(
    x: Int[np.ndarray, "n stated"], y: Int[np.ndarray, "n stated"], asked: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n position"]:
    """`x₁ → y₁ x₂ → y₂ … ⇔ ← y x`, where y and x are those of the statement number `asked` (from 0)."""
    statements = np.stack([x, np.full_like(x, RIGHT), y], axis=2).reshape(len(x), -1)
    rows = np.arange(len(x))
    question = reverse(x[rows, asked], y[rows, asked])
    return np.concatenate([statements, np.full((len(x), 1), SAME), question], axis=1)


def facts_drawn(world: Recollections, count: int, rng: np.random.Generator) -> Int[np.ndarray, "count 3"]:
    """Facts in the directions in which they are trained, drawn with replacement."""
    i = rng.integers(len(world.x), size=count)
    backward = (rng.random(count) < 0.5) & (i < world.both_ways)
    x, y = world.x[i], world.y[i]
    return np.where(backward[:, None], reverse(x, y), forward(x, y))


def episodes_drawn(
    world: Recollections, count: int, stated: int, rng: np.random.Generator
) -> Int[np.ndarray, "count position"]:
    """Episodes of `stated` different x's and y's, paired at random whatever the facts: they say nothing of these.

    (Episodes that never stated a fact would teach a small world which x a y does not go with.)
    """
    i, j = (rng.random((count, len(world.x))).argsort(1)[:, :stated] for _ in range(2))
    return episode(world.x[i], world.y[j], rng.integers(stated, size=count))
