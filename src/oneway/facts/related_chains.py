"""Chains whose entities share a token: A i → B i, B i → C i, and what follows from them, A i ⇝ C i."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from oneway.facts.chains import LEADS_TO, STEP, Chains, chains

Indices = Literal["shared", "shuffled"]
_FIRST_LETTER = 2  # after the two relations
_LETTERS = 3  # A, B and C


@dataclass(frozen=True)
class RelatedChains:
    """Triples of two-token entities, a letter and an index, in sentences of five token ids.

    Which triples are trained whole and what is held out is as in `Chains`. Token ids 0 and 1 are the relations, then
    come the letters A, B and C, and then the indices.
    """

    train: Int[np.ndarray, "train position"]
    validation: Int[np.ndarray, "validation position"]
    train_triple: Int[np.ndarray, " train"]
    concluded: Bool[np.ndarray, " train"]
    triples: Int[np.ndarray, "triple 3 2"]
    whole: int
    vocabulary_size: int

    @property
    def held_out(self) -> Int[np.ndarray, "validation 3 2"]:
        """The triples whose conclusion is held out, in the order of `validation`."""
        return self.triples[self.whole :]

    @property
    def candidates(self) -> slice:
        """The tokens that a conclusion may end on: every index."""
        start = _FIRST_LETTER + _LETTERS
        return slice(start, start + len(self.triples))


def related_chains(
    vocabulary: int = 800,
    *,
    seed: int,
    whole: float = 0.7,
    indices: Indices = "shared",
) -> RelatedChains:
    """As many triples as `chains` has, A i → B i, B i → C i and A i ⇝ C i.

    With indices "shared" the three entities of a triple have one index; "shuffled", its control, gives B and C the
    indices in random orders of their own: the same tokens and sentences, and nothing to generalise over.

    Raises ValueError for a vocabulary below 20, in which the letters and the indices would not fit.

    Source: Zhu et al. 2024 (arXiv 2405.04669), the chain of thought with related tokens. Deviation: one letter for
    each of x, y and z.
    """
    if vocabulary < 20:
        raise ValueError(f"vocabulary {vocabulary} must be at least 20")
    plain: Chains = chains(vocabulary, seed=seed, whole=whole)
    size = len(plain.triples)
    # In `chains` each column is a random order of an alphabet of its own; as numbers from 0 they are the indices.
    numbers = plain.triples - _FIRST_LETTER - np.arange(3) * size
    if indices == "shared":
        numbers = np.repeat(numbers[:, :1], 3, axis=1)
    letters = np.broadcast_to(_FIRST_LETTER + np.arange(3), numbers.shape)
    triples = np.stack([letters, _FIRST_LETTER + _LETTERS + numbers], axis=2)

    def sentences(of: np.ndarray, first: int, relation: int, second: int) -> np.ndarray:
        between = np.full((len(of), 1), relation, dtype=np.int64)
        return np.concatenate([of[:, first], between, of[:, second]], axis=1)

    conclusions = sentences(triples, 0, LEADS_TO, 2)
    return RelatedChains(
        train=np.concatenate(
            [sentences(triples, 0, STEP, 1), sentences(triples, 1, STEP, 2), conclusions[: plain.whole]]
        ),
        validation=conclusions[plain.whole :],
        train_triple=plain.train_triple,
        concluded=plain.concluded,
        triples=triples,
        whole=plain.whole,
        vocabulary_size=plain.vocabulary_size,
    )
