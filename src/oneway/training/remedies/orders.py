"""Remedies that change the order of what is read: whole texts reversed (R2), or cut into chunks and shuffled (R3)."""

from collections.abc import Callable
from itertools import groupby

import numpy as np

from oneway.facts.fact import FactTable
from oneway.training.remedies.lesson import Corpus, Lesson, lesson, stated

Piece = list[int]  # places of words that stay together


def reordered(one: Lesson, places: list[int]) -> Lesson:
    """The words at these places, one after the other; the name that now comes first is no longer a target."""
    return lesson([one.words[i] for i in places], [one.names[i] for i in places], one.fact_index, one.weight)


def words_reversed(one: Lesson) -> Lesson:
    """Every word in reverse order."""
    return reordered(one, list(range(len(one.words)))[::-1])


def names_kept(one: Lesson) -> Lesson:
    """Reversed, but the words of a name keep their order."""
    return reordered(
        one, [i for chunk in chunks(one)[::-1] for i in (chunk if one.names[chunk[0]] else chunk[::-1])]
    )


def segments_reversed(one: Lesson, longest: int, rng: np.random.Generator) -> Lesson:
    """Cut at random into segments of 1 to `longest` words, which change places and keep their inner order."""
    segments: list[Piece] = []
    at = 0
    while at < len(one.words):
        end = min(at + int(rng.integers(1, longest + 1)), len(one.words))
        segments.append(list(range(at, end)))
        at = end
    return reordered(one, [i for segment in segments[::-1] for i in segment])


def chunks(one: Lesson) -> list[Piece]:
    """Runs of words that belong together: each name, and each stretch of words between names."""
    return [list(group) for _, group in groupby(range(len(one.words)), key=lambda i: one.names[i])]


def permuted(one: Lesson, rng: np.random.Generator) -> Lesson:
    """The chunks in their order, in reverse order or in a random one, each with probability 1/3."""
    found = chunks(one)
    order = [np.arange(len(found)), np.arange(len(found))[::-1], rng.permutation(len(found))][rng.integers(3)]
    return reordered(one, [i for number in order for i in found[number]])


def reverse_training(unit: str, longest: int = 3, copies: int = 2) -> Corpus:
    """R2: every text, and the same text reversed by "word", "name" (whose words keep their order) or "segment".

    Random segments are drawn `copies` times for every text.

    Source: Golovneva et al. 2024, Reverse Training to Nurse the Reversal Curse (arXiv 2403.13799). Deviations: tokens
    are words here; names are those of the table, not found by a model; segments are drawn beforehand.
    """
    turned: dict[str, Callable[[Lesson, np.random.Generator], list[Lesson]]] = {
        "word": lambda one, rng: [words_reversed(one)],
        "name": lambda one, rng: [names_kept(one)],
        "segment": lambda one, rng: [segments_reversed(one, longest, rng) for _ in range(copies)],
    }

    def corpus(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
        told = stated(table)
        return [*told, *(other for one in told for other in turned[unit](one, rng))]

    return corpus


def semantic_permutation(copies: int = 4) -> Corpus:
    """R3: every text as it is and `copies` times with its chunks in the original, reversed or a random order.

    Source: Guo et al. 2024, Mitigating Reversal Curse via Semantic-aware Permutation Training (arXiv 2403.00758).
    Deviation: chunks are the names of the table and what stands between them, not found by a language model; each text
    stands there as it is too, so that the forward fact is never left to chance.
    """

    def corpus(table: FactTable, rng: np.random.Generator) -> list[Lesson]:
        told = stated(table)
        return [*told, *(permuted(one, rng) for one in told for _ in range(copies))]

    return corpus
