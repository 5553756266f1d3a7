"""Pairs a → b, and sentences that fill single corners of the table of what follows what."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

# Sentences of one pair, each token a, b or a relation; the last one is to be predicted. `reverse` is never trained.
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "forward": ("a", "→", "b"),
    "identity of a": ("a", "=", "a"),
    "identity of b": ("b", "=", "b"),
    "bridge": ("a", "→", "←", "a"),
    "a under ←": ("a", "←", "a"),
    "b under →": ("b", "→", "b"),
    "reverse": ("b", "←", "a"),
}
RELATIONS = ("→", "←", "=")


@dataclass(frozen=True, slots=True)
class Corners:
    """`pairs` pairs: token ids 0 … pairs − 1 are the a's, then come the b's in the order of their a's, then → ← =."""

    pairs: int = 8

    def __post_init__(self) -> None:
        """Raises ValueError for fewer than two pairs: there would be nothing to tell apart."""
        if self.pairs < 2:
            raise ValueError(f"{self.pairs} pair is too few: at least 2 are needed")

    @property
    def vocabulary_size(self) -> int:
        return 2 * self.pairs + len(RELATIONS)

    def sentences(self, kind: str) -> Int[np.ndarray, "pair pos"]:
        """The sentence of this kind about every pair. Raises KeyError for a kind that is not in `SENTENCES`."""
        number = np.arange(self.pairs)
        of = {"a": number, "b": self.pairs + number}
        of |= {name: np.full_like(number, 2 * self.pairs + at) for at, name in enumerate(RELATIONS)}
        return np.stack([of[word] for word in SENTENCES[kind]], axis=1)
