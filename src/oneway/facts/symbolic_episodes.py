"""Episodes: a pair is stated and asked for in reverse within one sequence, `x → y ⇔ y ← x`.

Beside episodes a sequence may ask for a fact without stating it; blanks then stand where the statement would.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

RIGHT, LEFT, SAME, BLANK = 0, 1, 2, 3  # the tokens of `x → y`, `y ← x`, ⇔, and of nothing
_FIRST_ENTITY = 4
STATED_X = 0  # the position of x in the statement
LENGTH = 7


def stated(x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 7"]:
    """`x → y ⇔ y ← x`: the last token is the answer."""
    c = np.ones(len(x), dtype=np.int64)
    return np.stack([x, RIGHT * c, y, SAME * c, y, LEFT * c, x], axis=1)


def asked(
    first: Int[np.ndarray, " n"], relation: Int[np.ndarray, " n"] | int, last: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n 7"]:
    """`first relation last` with blanks where a statement would stand."""
    c = np.ones(len(first), dtype=np.int64)
    return np.stack([*[BLANK * c] * 4, first, relation * c, last], axis=1)


@dataclass(frozen=True)
class Crossed:
    """Every x with every y in an episode; of each x the same number of y's is held out."""

    train: Int[np.ndarray, "train 7"]
    validation: Int[np.ndarray, "validation 7"]
    vocabulary_size: int


def crossed(xs: int = 100, ys: int = 10, *, seed: int, held_out: int = 3) -> Crossed:
    """100 x's and 10 y's, of which 7 a random choice of each x, give 700 training and 300 validation episodes.

    Raises ValueError unless 0 < held_out < ys. Source: Zhu et al. 2024 (arXiv 2405.04669), in-context experiment.
    """
    if not 0 < held_out < ys:
        raise ValueError(f"{held_out} of {ys} y's cannot be held out: some must be, and some be trained")
    order = np.random.default_rng(seed).random((xs, ys)).argsort(1)
    x = _FIRST_ENTITY + np.repeat(np.arange(xs), ys).reshape(xs, ys)
    y = _FIRST_ENTITY + xs + order
    parts = [stated(x[:, part].ravel(), y[:, part].ravel()) for part in (np.s_[held_out:], np.s_[:held_out])]
    return Crossed(parts[0], parts[1], _FIRST_ENTITY + xs + ys)


@dataclass(frozen=True)
class Known:
    """Facts x_i → y_i of three kinds, and which re-paired (x_i, y_j) episodes of training may state.

    A third of the facts is known in both directions, a third forward only; the last third is not known at all: its
    entities occur in episodes alone. Pairs of one kind are re-paired among themselves, or known ones among both kinds.
    """

    x: Int[np.ndarray, " pair"]
    y: Int[np.ndarray, " pair"]
    trained: Bool[np.ndarray, "pair pair"]  # (i, j): an episode of training may state x_i with y_j
    vocabulary_size: int

    @property
    def each(self) -> int:
        """How many facts of each kind: those known both ways first, then forward only, then unknown."""
        return len(self.x) // 3

    def held_out(self, xs: slice, ys: slice) -> Int[np.ndarray, "n 2"]:
        """All (i, j) with i in `xs` and j in `ys` that no episode of training may state, but true pairs."""
        i, j = np.nonzero(~self.trained)
        inside = np.isin(i, np.arange(len(self.x))[xs]) & np.isin(j, np.arange(len(self.x))[ys]) & (i != j)
        return np.stack([i[inside], j[inside]], axis=1)


def known(each: int = 20, *, seed: int, held_out: float = 0.3) -> Known:
    """A random world with `each` facts of each kind; a share `held_out` of the re-pairings is never trained.

    True pairs are never among the re-pairings. Raises ValueError for fewer than two facts of a kind.
    """
    if each < 2:
        raise ValueError(f"{each} facts of a kind cannot be re-paired: at least 2 are needed")
    rng, pairs = np.random.default_rng(seed), 3 * each
    trained = (rng.random((pairs, pairs)) >= held_out) & ~np.eye(pairs, dtype=bool)
    known_ones = np.arange(pairs) < 2 * each
    trained &= known_ones[:, None] == known_ones
    x, y = _FIRST_ENTITY + rng.permutation(pairs), _FIRST_ENTITY + pairs + rng.permutation(pairs)
    return Known(x.astype(np.int64), y.astype(np.int64), trained, _FIRST_ENTITY + 2 * pairs)


def lesson(
    world: Known, size: int, agreeing: float, rng: np.random.Generator
) -> Int[np.ndarray, "sentence 7"]:
    """Training sequences of a step: half facts, a quarter episodes of unknown and a quarter of known entities.

    A share `agreeing` of the episodes of known entities states true pairs of facts known both ways; the others state
    re-paired ones of all known facts.
    """
    each, n_facts, n_free = world.each, size // 2, size // 4
    n_known = size - n_facts - n_free
    i = rng.integers(2 * each, size=n_facts)
    reverse = (rng.random(n_facts) < 0.5) & (i < each)
    first, last = np.where(reverse, world.y[i], world.x[i]), np.where(reverse, world.x[i], world.y[i])
    facts = asked(first, np.where(reverse, LEFT, RIGHT), last)
    free = _drawn(world.trained[2 * each :, 2 * each :], n_free, rng) + 2 * each
    true = rng.integers(each, size=n_known)
    re_paired = _drawn(world.trained[: 2 * each, : 2 * each], n_known, rng)
    agrees = rng.random(n_known) < agreeing
    pairs = np.where(agrees[:, None], np.stack([true, true], 1), re_paired)
    episodes = np.concatenate([free, pairs])
    return np.concatenate([facts, stated(world.x[episodes[:, 0]], world.y[episodes[:, 1]])])


def _drawn(
    allowed: Bool[np.ndarray, "i j"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "count 2"]:
    choices = np.argwhere(allowed)
    return choices[rng.integers(len(choices), size=count)]
