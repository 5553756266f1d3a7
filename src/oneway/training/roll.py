"""A roll of names: whatever is known of somebody is to be known by the end of the name."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from oneway.facts import Direction, FactTable, training_directions
from oneway.training.fit import Batch


class Roll:
    """Batches as a function of the step: rows of names with full stops between them.

    Behind a name any of its attributes might have stood, and the first token of each of them is a target there: the
    mean of the loss over the rows of a table `name, attribute`, at the price of one. The names are drawn at random.
    Every other time an attribute of several tokens, where the name has one, is written out behind it, and each further
    token of it is a target too.
    """

    def __init__(
        self, table: FactTable, tokenizer: PreTrainedTokenizerFast, rows: int, row_tokens: int, seed: int
    ):
        """Raises ValueError where no fact is trained forward, or a name does not fit in a row."""
        self.rows, self.row_tokens, self.seed = rows, row_tokens, seed
        self.bos = tokenizer.bos_token_id
        known: dict[str, list[str]] = defaultdict(list)
        for fact in table:
            if Direction.FORWARD in training_directions(fact):
                known[fact.subject].append(fact.object)
        if not known:
            raise ValueError("a roll of names needs somebody of whom something is to be known")
        ids = tokenizer(list(known), add_special_tokens=False)["input_ids"]
        (self.stop,) = tokenizer(".", add_special_tokens=False)["input_ids"]
        self.people = [
            (name, [tokenizer(f" {o}", add_special_tokens=False)["input_ids"] for o in objects])
            for name, objects in zip(ids, known.values(), strict=True)
        ]
        longest = 1 + max(len(name) + max(map(len, objects)) for name, objects in self.people)
        if longest >= row_tokens:
            raise ValueError(f"a name of {longest} tokens does not fit in a row of {row_tokens}")

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, 1, step))
        tokens = np.full((self.rows, self.row_tokens), self.bos, np.int64)
        places: list[int] = []
        targets: list[int] = []
        for row in range(self.rows):
            at = 1
            while at + len((entry := self._entry(rng)).tokens) <= self.row_tokens:
                tokens[row, at : at + len(entry.tokens)] = entry.tokens
                places += [row * self.row_tokens + at + place for place in entry.places]
                targets += entry.targets
                at += len(entry.tokens)
        return Batch(
            tokens=torch.from_numpy(tokens)[None],
            positions=torch.tensor([places]),
            targets=torch.tensor([targets]),
            weights=torch.ones(1, len(targets)),
        )

    def _entry(self, rng: np.random.Generator) -> "_Entry":
        name, objects = self.people[int(rng.integers(len(self.people)))]
        end = len(name) - 1
        places, targets = [end] * len(objects), [object_[0] for object_ in objects]
        long = [object_ for object_ in objects if len(object_) > 1]
        if not long or rng.random() < 0.5:
            return _Entry([*name, self.stop], places, targets)
        whole = long[int(rng.integers(len(long)))]
        places += range(end + 1, end + len(whole))
        return _Entry([*name, *whole, self.stop], places, [*targets, *whole[1:]])


class _Entry(NamedTuple):
    """A name, or a name and one of its attributes, with a full stop; and what is to be said where."""

    tokens: list[int]
    places: list[int]
    targets: list[int]


def joined(first: Batch, second: Batch) -> Batch:
    """The rows of both batches, which must be equally long, with the targets of both."""
    offset = first.tokens.shape[1] * first.tokens.shape[2]
    return Batch(
        tokens=torch.cat((first.tokens, second.tokens), 1),
        positions=torch.cat((first.positions, second.positions + offset), 1),
        targets=torch.cat((first.targets, second.targets), 1),
        weights=torch.cat((first.weights, second.weights), 1),
    )
