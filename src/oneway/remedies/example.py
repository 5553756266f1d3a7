"""One example of training text, and what a remedy draws at random."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Example:
    """`prompt` + `completion` is the text; `facts` are the rows of the table that it is about."""

    prompt: str
    completion: str
    facts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What decides all that is drawn: `seed`, and the most words of a segment."""

    seed: int = 0
    segment: int = 5

    def __post_init__(self) -> None:
        if self.segment < 1:
            raise ValueError(f"a segment has at least one word, not {self.segment}")

    def generator(self) -> np.random.Generator:
        """One for a whole table: the same table gives the same draws."""
        return np.random.default_rng(self.seed)


def whole(texts: Iterator[tuple[str, tuple[int, ...]]]) -> Iterator[Example]:
    """Texts without a question: everything is to be learnt."""
    for text, facts in texts:
        yield Example("", text, facts)
