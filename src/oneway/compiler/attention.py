"""Heads that look a fixed number of tokens back, else at BOS: query and key parts for both kinds of positions.

A head's scores are a kernel K of the distance d to the key, up to what its gates do to BOS (per head, after the
division by √d_head): the target `peak`, BOS `peak − LEAD` where the head is open and `peak + LEAD` where it is closed,
all others at most `peak − 2·LEAD`. What softmax leaves to the others is below e^−LEAD each.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from oneway.compiler.refusal import CompileError

LEAD = 20.0  # nats between the target, BOS and the rest: e^−20 is 2e-9
_ROTARY_BASE = 10_000.0
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Sinusoids:
    """Frequencies whose weighted sum of cosines has its only high peak at 0: peak `peak`, then `peak − 2·LEAD`."""

    frequencies: Float[np.ndarray, " frequency"]  # radians a token
    weights: Float[np.ndarray, " frequency"]  # they sum to `peak`

    @property
    def peak(self) -> float:
        return float(self.weights.sum())

    def back(self, offset: int, drop: float = 2 * LEAD) -> "Kernel":
        """The kernel that looks `offset` tokens back, all other distances `drop` nats below it."""
        return Kernel(self.frequencies, self.weights * (drop / (2 * LEAD)), offset * self.frequencies, offset)


@dataclass(frozen=True, slots=True)
class Kernel:
    """K(d) = Σ weights · cos(frequencies · d − turns), in nats; `offset` is the distance that is looked at."""

    frequencies: Float[np.ndarray, " frequency"]
    weights: Float[np.ndarray, " frequency"]
    turns: Float[np.ndarray, " frequency"]
    offset: int

    @property
    def peak(self) -> float:
        return float(self.at(np.array([float(self.offset)]))[0])

    def at(self, distances: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """K at some distances."""
        found: np.ndarray = np.cos(np.outer(distances, self.frequencies) - self.turns) @ self.weights
        return found


STOP = 4 * LEAD  # what a token that stops a head has on top of K


@lru_cache(maxsize=16)
def stopped(frequencies: tuple[float, ...], offset: int, positions: int) -> Kernel:
    """The kernel of a head that looks `offset` tokens back unless a token on the way there stops it.

    K is between `peak − 3·LEAD` and `peak − 2·LEAD` on the way and at most `peak − 6·LEAD` beyond; a token that stops
    has `STOP` besides, so that on the way it is above BOS and beyond it is not. Of all such kernels of these
    frequencies it is the one with the smallest sum of amplitudes, by a linear program.
    """
    from scipy.optimize import linprog

    angles = np.outer(np.arange(positions), frequencies)
    parts = np.c_[np.cos(angles), np.sin(angles)]
    above = parts - parts[offset]  # K(d) − peak
    way, beyond = above[1:offset], above[offset + 1 :]
    limits = np.r_[above[:1], way, -way, beyond]
    bounds = LEAD * np.r_[[-2.0], np.full(len(way), -2.0), np.full(len(way), 3.0), np.full(len(beyond), -6.0)]
    solved = linprog(np.ones(2 * limits.shape[1]), A_ub=np.c_[limits, -limits], b_ub=bounds)
    if not solved.success:
        raise CompileError(
            [
                f"no head of these frequencies looks {offset} back in {positions} positions: give fewer positions"
            ]
        )
    cosine, sine = np.split(solved.x[: limits.shape[1]] - solved.x[limits.shape[1] :], 2)
    return Kernel(np.array(frequencies), np.hypot(cosine, sine), np.arctan2(sine, cosine), offset)


@lru_cache(maxsize=16)
def learned(count: int, positions: int) -> Sinusoids:
    """`count` frequencies of equal weight for learned positions: of 200 draws the one with the lowest second peak."""
    distances = _distances(positions)
    best, lowest = np.zeros(count), math.inf
    for seed in range(_DRAWS):
        drawn = np.random.default_rng(seed).uniform(0.05, math.pi, count)
        second = float(np.cos(np.outer(distances, drawn)).mean(axis=1).max())
        if second < lowest:
            best, lowest = drawn, second
    return _scaled(best, np.full(count, 1 / count), lowest)


def rotary_frequencies(head_width: int) -> Float[np.ndarray, " frequency"]:
    """All frequencies of rotary positions but the lowest, in radians a token."""
    half = head_width // 2
    found: np.ndarray = _ROTARY_BASE ** (-np.arange(half - 1) / half)
    return found


@lru_cache(maxsize=16)
def rotary(head_width: int, positions: int, count: int | None = None) -> Sinusoids:
    """The `count` highest frequencies of rotary positions (by default all but the lowest), weighted by a linear program
    for the lowest second peak."""
    from scipy.optimize import linprog

    frequencies = rotary_frequencies(head_width)[:count]
    drop = 1 - np.cos(np.outer(_distances(positions), frequencies))
    n = len(frequencies)
    solved = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.c_[-drop, np.ones(len(drop))],
        b_ub=np.zeros(len(drop)),
        A_eq=np.r_[np.ones(n), 0.0][None],
        b_eq=[1.0],
    )
    return _scaled(frequencies, solved.x[:n], 1 - float(solved.x[n]))


def _scaled(frequencies: np.ndarray, weights: np.ndarray, second: float) -> Sinusoids:
    return Sinusoids(frequencies, weights * (2 * LEAD / (1 - second)))


def _distances(positions: int) -> np.ndarray:
    """How far a token may be from the target; cosines are even, so that behind and before are alike."""
    return np.arange(1, positions)


def sink_score(peak: float, gated: bool) -> float:
    """The score of BOS before gates: for a head without gates it is open."""
    return peak + LEAD if gated else peak - LEAD
