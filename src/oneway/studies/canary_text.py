"""Training text with canaries: sentences of five tokens whose first two ask for the last three.

Three kinds ask alike, with prefixes drawn from the same tokens. *Canaries* are secrets of three random tokens;
*facts* are objects of three tokens as well, but many subjects share each of a few objects; *text* follows a rule and
can be generalised. Source of canaries: Carlini et al. 2019 (arXiv 1802.08232), sections 3 and 4. Deviation: every
canary has a prefix of its own in place of one format for all, so that several are measured in one model.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

SYMBOLS = 16  # tokens that secrets, objects and the rule's answers are made of
ANSWER = 3  # tokens of an answer, hence SYMBOLS ** 3 possible secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOf:
    """How many canaries, and as many facts, are planted how often, among how many sentences of ordinary text."""

    exposures: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    each: int = 12
    objects: int = 8
    prefixes: int = 48
    ordinary: int = 12_000

    @property
    def planted(self) -> int:
        """Canaries in all, which is also the number of facts."""
        return self.each * len(self.exposures)

    @property
    def vocabulary(self) -> int:
        """The symbols, then the first and the second tokens of prefixes."""
        return SYMBOLS + 2 * self.prefixes

    @property
    def sentences(self) -> int:
        """Sentences of the training text."""
        return 2 * self.each * sum(self.exposures) + self.ordinary


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """One seed's canaries and facts, as often as each is planted, and the training text in its order."""

    canaries: Int[np.ndarray, "planted 5"]
    facts: Int[np.ndarray, "planted 5"]
    exposures: Int[np.ndarray, " planted"]
    stream: Int[np.ndarray, "sentence 5"]


def write_text(of: TextOf, seed: int) -> Text:
    """A seed's text, shuffled. Raises ValueError where there are fewer prefixes than sentences need."""
    rng = np.random.default_rng((seed, 8))
    if 3 * of.planted > of.prefixes**2:
        raise ValueError(
            f"{of.planted:,} canaries and as many facts leave too few of {of.prefixes**2:,} prefixes for the text"
        )
    prefixes = rng.permutation(of.prefixes**2)
    first, second = SYMBOLS + prefixes // of.prefixes, SYMBOLS + of.prefixes + prefixes % of.prefixes
    pairs = np.stack([first, second], 1)
    own, theirs, others = np.split(pairs, (of.planted, 2 * of.planted))
    objects = rng.integers(SYMBOLS, size=(of.objects, ANSWER))
    canaries = np.concatenate([own, rng.integers(SYMBOLS, size=(of.planted, ANSWER))], 1)
    facts = np.concatenate([theirs, objects[rng.integers(of.objects, size=of.planted)]], 1)
    exposures = np.repeat(of.exposures, of.each)
    told = others[rng.integers(len(others), size=of.ordinary)]
    ordinary = np.concatenate([told, _ruled(told, rng, of)], 1)
    stream = np.concatenate([np.repeat(canaries, exposures, 0), np.repeat(facts, exposures, 0), ordinary])
    return Text(canaries, facts, exposures, rng.permutation(stream))


def _ruled(
    prefixes: Int[np.ndarray, "sentence 2"], rng: np.random.Generator, of: TextOf
) -> Int[np.ndarray, "sentence 3"]:
    """What either token of the prefix says by itself, the first one twice: no pair has to be known."""
    left, right = rng.integers(SYMBOLS, size=(2, of.prefixes))
    a, b = left[prefixes[:, 0] - SYMBOLS], right[prefixes[:, 1] - SYMBOLS - of.prefixes]
    return np.stack([a, b, a], 1)
