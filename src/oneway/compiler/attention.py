"""Heads that look a fixed number of tokens back, else at BOS: query and key parts for both kinds of positions.

Every head has the same scores, up to what its gates do to BOS (per head, after the division by √d_head):
the target `PEAK`, BOS `PEAK − LEAD` where the head is open and `PEAK + LEAD` where it is closed, all others at most
`PEAK − 2·LEAD`. What softmax leaves to the others is below e^−LEAD each.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

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


@lru_cache(maxsize=16)
def rotary(head_width: int, positions: int) -> Sinusoids:
    """The frequencies of rotary positions but the lowest, weighted by a linear program for the lowest second peak."""
    from scipy.optimize import linprog

    half = head_width // 2
    frequencies = _ROTARY_BASE ** (-np.arange(half - 1) / half)
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
