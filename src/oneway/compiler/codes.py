"""Directions for words: unit vectors that are as little alike as their number and the width allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_WORK = 1e11  # multiplications spent on spreading codes: about a second
_STEPS = 150


def codes(count: int, width: int, seed: int = 0) -> Float[np.ndarray, "count code"]:
    """`count` unit vectors of at most `width` dimensions: orthonormal where they fit, else spread by repulsion.

    Each vector is pushed away from those most like it, more and more from the nearest alone, by gradient steps on
    Σ_i log Σ_j exp(κ ⟨x_i, x_j⟩) with κ rising from 10 to 50. Raises ValueError for a count or width below 1.
    """
    if count < 1 or width < 1:
        raise ValueError(f"{count} codes of width {width}: both must be at least 1")
    if count <= width:
        return np.eye(count, dtype=np.float32)
    x = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    steps = int(min(_STEPS, _WORK // (count * count * width)))
    for step in range(steps):
        share = step / steps
        alike = x @ x.T
        np.fill_diagonal(alike, -1)
        alike -= alike.max(axis=1, keepdims=True)
        push = np.exp((10 + 40 * share) * alike)
        push /= push.sum(axis=1, keepdims=True)
        x -= 0.15 * (1 - share) * (push @ x + push.T @ x)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def likeness(vectors: Float[np.ndarray, "count code"]) -> float:
    """The largest inner product of two different codes; 0 for orthonormal ones and for a single one."""
    largest = 0.0
    for start in range(0, len(vectors), 1024):
        alike = vectors[start : start + 1024] @ vectors.T
        rows = np.arange(len(alike))
        alike[rows, start + rows] = 0
        largest = max(largest, float(alike.max()))
    return largest


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Words with a code each."""

    words: tuple[str, ...]
    codes: Float[np.ndarray, "word code"]
    likeness: float

    @classmethod
    def of(cls, words: tuple[str, ...], width: int, seed: int) -> "Alphabet":
        found = codes(max(len(words), 1), width, seed)
        return cls(words, found[: len(words)], likeness(found))

    @classmethod
    def of_bits(cls, labels: Sequence[str]) -> "Alphabet":
        """A dimension of its own for each label."""
        return cls(tuple(labels), np.eye(len(labels), dtype=np.float32), 0.0)

    @property
    def width(self) -> int:
        return self.codes.shape[1]

    def table(self, tokens: tuple[str, ...]) -> Float[np.ndarray, "vocab code"]:
        """What each token of a vocabulary has: the code of its text, or zeros."""
        found = np.zeros((len(tokens), self.width), dtype=np.float32)
        at = {word: index for index, word in enumerate(self.words)}
        for row, token in enumerate(tokens):
            if token in at:
                found[row] = self.codes[at[token]]
        return found
