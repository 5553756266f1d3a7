"""Pairs that are told in three forms: forward, in other words, and in reverse, each after any filler."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

FORWARD, PARAPHRASE, REVERSE = 0, 1, 2  # the relation tokens of `x → y`, `x ⇒ y` and `y ← x`
FILLERS = (3, 4)  # tokens that mean nothing; every sentence starts with one
_FIRST_ENTITY = 5


@dataclass(frozen=True)
class Paraphrases:
    """Sentences of four token ids: a filler, an entity, a relation token, the answer.

    The first pairs are trained in all forms after both fillers; the others occur in no training sentence.
    """

    train: Int[np.ndarray, "train 4"]
    pairs: Int[np.ndarray, "pair 2"]  # the token ids of x and y
    trained: int  # how many pairs, the first ones, are trained
    vocabulary_size: int

    @property
    def held_out(self) -> Int[np.ndarray, "held_out 2"]:
        """The pairs that no training sentence states."""
        return self.pairs[self.trained :]


def told(
    pairs: Int[np.ndarray, "pair 2"], relation: int, filler: int = FILLERS[0]
) -> Int[np.ndarray, "pair 4"]:
    """One sentence a pair: `x → y`, `x ⇒ y` or `y ← x` after the filler."""
    first, last = (pairs[:, 1], pairs[:, 0]) if relation == REVERSE else (pairs[:, 0], pairs[:, 1])
    constant = np.ones(len(pairs), dtype=np.int64)
    return np.stack([filler * constant, first, relation * constant, last], axis=1)


def paraphrases(pairs: int = 60, *, seed: int, trained: float = 2 / 3) -> Paraphrases:
    """Random pairs of x and y; a share `trained` is trained in every form, the others in none.

    Sixty pairs give 240 training sentences and 20 held-out pairs. Raises ValueError where fewer than two pairs
    would be held out or none trained.
    """
    n_trained = round(trained * pairs)
    if n_trained < 1 or pairs - n_trained < 2:
        raise ValueError(
            f"of {pairs} pairs {n_trained} would be trained: at least 1, and 2 held out, are needed"
        )
    rng = np.random.default_rng(seed)
    x, y = _FIRST_ENTITY + rng.permutation(pairs), _FIRST_ENTITY + pairs + rng.permutation(pairs)
    both = np.stack([x, y], axis=1).astype(np.int64)
    forms = [told(both[:n_trained], r, f) for r in (FORWARD, PARAPHRASE, REVERSE) for f in FILLERS]
    return Paraphrases(np.concatenate(forms), both, n_trained, _FIRST_ENTITY + 2 * pairs)
