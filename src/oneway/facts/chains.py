"""Chains of two steps: x → y, y → z, and what follows from them, x ⇝ z."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

STEP, LEADS_TO = 0, 1  # the relation tokens of `x → y`, `y → z` and of `x ⇝ z`
_RELATION_TOKENS = 2


@dataclass(frozen=True)
class Chains:
    """Triples of one-token entities in sentences of three token ids.

    The first triples are trained whole: both steps and the conclusion. Of the others the two steps are trained
    and the conclusion is held out. Token ids 0 and 1 are the relations, then come the alphabets of x, y and z.
    """

    train: Int[np.ndarray, "train position"]
    validation: Int[np.ndarray, "validation position"]
    train_triple: Int[np.ndarray, " train"]  # the triple that each training sentence belongs to
    concluded: Bool[np.ndarray, " train"]  # the sentence is a conclusion x ⇝ z
    triples: Int[np.ndarray, "triple 3"]  # the token ids of x, y and z
    whole: int  # how many triples, the first ones, are trained whole
    vocabulary_size: int

    @property
    def held_out(self) -> Int[np.ndarray, "validation 3"]:
        """The triples whose conclusion is held out, in the order of `validation`."""
        return self.triples[self.whole :]

    @property
    def candidates(self) -> slice:
        """The tokens that a conclusion may end on: the alphabet of z."""
        size = len(self.triples)
        return slice(_RELATION_TOKENS + 2 * size, _RELATION_TOKENS + 3 * size)


def chains(vocabulary: int = 800, *, seed: int, whole: float = 0.7) -> Chains:
    """Random triples; of a share `whole` the conclusion is trained too.

    `vocabulary` counts the tokens besides the two relations; x, y and z have alphabets of vocabulary / 4 tokens
    each, all of them used (a quarter of the vocabulary is not). Vocabulary 800 gives 540 training and 60 validation
    sentences.

    Raises ValueError for a vocabulary below 8.

    Source: Zhu et al. 2024 (arXiv 2405.04669), section 5.2. Deviation: as in `arrows`, the alphabets are ranges.
    """
    if vocabulary < 8:
        raise ValueError(f"vocabulary {vocabulary} must be at least 8")
    rng = np.random.default_rng(seed)
    size = vocabulary // 4
    columns = [_RELATION_TOKENS + part * size + rng.permutation(size) for part in range(3)]
    triples = np.stack(columns, axis=1).astype(np.int64)
    x, y, z = triples.T
    n_whole = round(whole * size)

    def sentences(first: np.ndarray, relation: int, second: np.ndarray) -> np.ndarray:
        return np.stack([first, np.full(len(first), relation, dtype=np.int64), second], axis=1)

    every = np.arange(size)
    conclusions = sentences(x, LEADS_TO, z)
    parts = [sentences(x, STEP, y), sentences(y, STEP, z), conclusions[:n_whole]]
    train = np.concatenate(parts)
    return Chains(
        train=train,
        validation=conclusions[n_whole:],
        train_triple=np.concatenate([every, every, every[:n_whole]]),
        concluded=np.arange(len(train)) >= 2 * size,
        triples=triples,
        whole=n_whole,
        vocabulary_size=vocabulary + _RELATION_TOKENS,
    )
