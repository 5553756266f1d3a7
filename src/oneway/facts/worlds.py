"""Synthetic worlds: facts that no model can have met, as pure functions of a seed."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Bool, Int

from oneway.facts.fact import Fact, FactTable, Relation
from oneway.facts.names import invented_words
from oneway.facts.shipped import load_relations
from oneway.facts.splits import Trained

RIGHT, LEFT = 0, 1  # the relation tokens of `x → y` and `y ← x`
_RELATION_TOKENS = 2

ARROW = Relation(
    name="arrow", forward=("{subject} → {object}",), reverse=("{object} ← {subject}",), one_to_one=True
)


@dataclass(frozen=True)
class Arrows:
    """Pairs of entities x and y in sentences `x → y` and `y ← x` of 2·length + 1 tokens.

    Sentences are [sentence, position] token ids, answers their last `length` tokens. Pairs that are
    trained both ways come first in `x` and `y`, which hold one pair per row. Token ids 0 and 1 are the
    arrows, then come the alphabets of x and of y; half of the vocabulary is never used.
    """

    train: Int[np.ndarray, "train position"]
    validation: Int[np.ndarray, "validation position"]
    train_pair: Int[np.ndarray, " train"]  # the pair that each training sentence states
    validation_pair: Int[np.ndarray, " validation"]
    train_both_ways: Bool[np.ndarray, " train"]  # the pair is also trained in the other direction
    counterpart: Int[np.ndarray, " validation"]  # the training sentence that states the same pair
    x: Int[np.ndarray, "pair length"]
    y: Int[np.ndarray, "pair length"]
    x_tokens: slice
    y_tokens: slice
    vocabulary_size: int

    @property
    def length(self) -> int:
        """Tokens per entity."""
        return self.x.shape[1]

    @property
    def answer(self) -> slice:
        """The positions of the answer in every sentence."""
        return slice(self.length + 1, 2 * self.length + 1)

    def table(self) -> FactTable:
        """The same pairs as facts over token names ("x17"), labelled by the directions that are trained."""
        both_ways = set(self.train_pair[self.train_both_ways].tolist())
        arrow = dict(zip(self.train_pair.tolist(), self.train[:, self.length].tolist(), strict=True))
        facts = []
        for pair, (x, y) in enumerate(zip(self.x, self.y, strict=True)):
            one_way = Trained.FORWARD_ONLY if arrow[pair] == RIGHT else Trained.REVERSE_ONLY
            split = Trained.BOTH_WAYS if pair in both_ways else one_way
            subject = " ".join(f"x{token - self.x_tokens.start}" for token in x.tolist())
            object = " ".join(f"y{token - self.y_tokens.start}" for token in y.tolist())
            facts.append(Fact(subject, ARROW.name, object, split=split.value))
        return FactTable(tuple(facts), {ARROW.name: ARROW})


def arrows(
    vocabulary: int = 800, length: int = 1, *, seed: int, both_ways: float = 0.7, alphabet_share: float = 0.25
) -> Arrows:
    """Random pairs of entities: most are trained in both directions, of the others one direction at random
    is trained and the other one is held out for validation.

    `vocabulary` counts the tokens besides the two arrows; x and y have alphabets of `alphabet_share` of them
    each, and an entity is `length` tokens of its alphabet. There are as many pairs as entities, but at most
    twice as many as an alphabet has tokens; from length 3 on, at most 100 pairs are trained both ways and 50 one way.
    Vocabulary 800 and length 1 give 340 training and 60 validation sentences.

    Raises ValueError for a vocabulary below 8, a length below 1, or alphabets of more than half of the tokens
    or of less than two.

    Source: Zhu et al. 2024 (arXiv 2405.04669), section 5, and the code published with it. Deviation: the
    alphabets are two ranges of token ids instead of random subsets, which makes no difference to a model
    whose tokens are exchangeable when it starts.
    """
    if vocabulary < 8 or length < 1:
        raise ValueError(f"vocabulary {vocabulary} must be at least 8, entity length {length} at least 1")
    alphabet = int(alphabet_share * vocabulary)
    if not 2 <= alphabet <= vocabulary // 2:
        raise ValueError(f"alphabets of {alphabet} tokens each do not fit in a vocabulary of {vocabulary}")
    rng = np.random.default_rng(seed)
    pairs = min(alphabet**length, 2 * alphabet)
    x_start, y_start = _RELATION_TOKENS, _RELATION_TOKENS + alphabet
    x = x_start + _distinct_words(pairs, alphabet, length, rng)
    y = y_start + _distinct_words(pairs, alphabet, length, rng)
    n_both = round(both_ways * pairs)
    n_one = pairs - n_both
    if length >= 3:
        n_both, n_one = min(n_both, 100), min(n_one, 50)
    x, y = x[: n_both + n_one], y[: n_both + n_one]

    forward = _sentences(x, RIGHT, y)
    reverse = _sentences(y, LEFT, x)
    one_way = np.arange(n_both, n_both + n_one)
    seen_forward = rng.integers(2, size=n_one).astype(bool)
    seen = np.where(seen_forward[:, None], forward[one_way], reverse[one_way])
    unseen = np.where(seen_forward[:, None], reverse[one_way], forward[one_way])
    return Arrows(
        train=np.concatenate([forward[:n_both], reverse[:n_both], seen]),
        validation=unseen,
        train_pair=np.concatenate([np.arange(n_both), np.arange(n_both), one_way]),
        validation_pair=one_way,
        train_both_ways=np.arange(2 * n_both + n_one) < 2 * n_both,
        counterpart=2 * n_both + np.arange(n_one),
        x=x,
        y=y,
        x_tokens=slice(x_start, x_start + alphabet),
        y_tokens=slice(y_start, y_start + alphabet),
        vocabulary_size=vocabulary + _RELATION_TOKENS,
    )


def _distinct_words(
    count: int, alphabet: int, length: int, rng: np.random.Generator
) -> Int[np.ndarray, "count length"]:
    """Different words over 0 … alphabet − 1, in random order: numbers without repetition, in that base."""
    numbers = rng.choice(alphabet**length, size=count, replace=False)
    powers = alphabet ** np.arange(length, dtype=np.int64)
    return (numbers[:, None] // powers % alphabet).astype(np.int64)


def _sentences(
    first: Int[np.ndarray, "pair length"], arrow: int, second: Int[np.ndarray, "pair length"]
) -> Int[np.ndarray, "pair position"]:
    return np.concatenate([first, np.full((len(first), 1), arrow, dtype=np.int64), second], axis=1)


def families(count: int, *, seed: int, same_surname: float = 0.7) -> FactTable:
    """Children and parents with invented two-word names, in the relations and words of the table `parents`.

    Every person stands in one fact only, so that the relations are one-to-one; `same_surname` is the
    share of pairs (rounded to whole pairs) in which both have the same surname, which other families have
    as well. Every fact is labelled as trained forward only; `by_direction` labels them anew.
    """
    rng = np.random.default_rng(seed)
    # Of one surname there are at most 8 people in its own families and `count` who married into others: with
    # so many first names none runs out, and about two people share each.
    n_first, n_last = count + 10, ceil(count / 4) + 2
    words = invented_words(n_first + n_last, rng)
    first_names, surnames = words[:n_first], words[n_first:]
    relations = load_relations("parents")
    names_of_relations = list(relations)
    shared = np.arange(count) < round(same_surname * count)
    rng.shuffle(shared)
    taken: set[str] = set()

    def person(surname: int) -> str:
        while True:
            name = f"{first_names[int(rng.integers(n_first))]} {surnames[surname]}"
            if name not in taken:
                taken.add(name)
                return name

    facts: list[Fact] = []
    for same in shared.tolist():
        one = len(facts) % n_last
        other = one if same else (one + 1 + int(rng.integers(n_last - 1))) % n_last
        relation = names_of_relations[int(rng.integers(len(names_of_relations)))]
        facts.append(Fact(person(one), relation, person(other), split=Trained.FORWARD_ONLY.value))
    return FactTable(tuple(facts), relations)
