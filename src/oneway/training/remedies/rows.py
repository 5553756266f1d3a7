"""Lessons as rows of tokens for many seeds at once, dealt out in batches that depend on the step alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.training.fit import Batch
from oneway.training.remedies.lesson import Lesson

PAD, MASKED = 0, 1  # token ids


class Words:
    """Token ids of one seed's words: 0 pads, 1 masks, the words follow in the order of the alphabet."""

    def __init__(self, words: Iterable[str], mask: str):
        self.ids = {mask: MASKED}
        self.ids |= {word: number for number, word in enumerate(sorted(set(words) - {mask}), start=2)}

    def __len__(self) -> int:
        return len(self.ids) + 1

    def __call__(self, words: Sequence[str]) -> list[int]:
        """Raises KeyError for a word that was not given."""
        return [self.ids[word] for word in words]


class Rows(NamedTuple):
    """Every lesson of every seed, padded: its tokens, and how much each token counts as a target."""

    tokens: Int[np.ndarray, "seed lesson pos"]
    weights: Float[np.ndarray, "seed lesson pos"]


def rows(lessons: Sequence[Sequence[Lesson]], words: Sequence[Words]) -> Rows:
    """All seeds' lessons. Raises ValueError where seeds have different numbers of them."""
    counts = {len(own) for own in lessons}
    if len(counts) != 1:
        raise ValueError(f"the seeds have different numbers of lessons: {sorted(counts)}")
    longest = max(len(one.words) for own in lessons for one in own)
    tokens = np.full((len(lessons), counts.pop(), longest), PAD, dtype=np.int64)
    weights = np.zeros(tokens.shape, dtype=np.float32)
    for seed, (own, ids) in enumerate(zip(lessons, words, strict=True)):
        for row, one in enumerate(own):
            tokens[seed, row, : len(one.words)] = ids(one.words)
            weights[seed, row, : len(one.words)] = one.weight * np.array(one.targets)
    return Rows(tokens, weights)


@dataclass(frozen=True, slots=True)
class Dealt:
    """Rows of every seed in that seed's own order, a new one each epoch; `batch` of them a step."""

    rows: Rows
    seeds: tuple[int, ...]
    batch: int

    def __call__(self, step: int) -> tuple[Int[Tensor, "seed batch pos"], Float[Tensor, "seed batch pos"]]:
        count = self.rows.tokens.shape[1]
        a_step = min(self.batch, count)
        epoch, at = divmod(step * a_step, count)
        place = np.arange(at, at + a_step)
        picked = np.stack([self._order(seed, epoch, place) for seed in self.seeds])
        seeds = np.arange(len(self.seeds))[:, None]
        return torch.from_numpy(self.rows.tokens[seeds, picked]), torch.from_numpy(
            self.rows.weights[seeds, picked]
        )

    def _order(self, seed: int, epoch: int, place: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " batch"]:
        """The rows at these places of an epoch; a batch that reaches beyond its end goes on with the next."""
        count = self.rows.tokens.shape[1]
        found = np.empty_like(place)
        for number in range(2):
            inside = place // count == number
            if inside.any():
                order = np.random.default_rng((seed, 1 + epoch + number)).permutation(count)
                found[inside] = order[place[inside] % count]
        return found


def next_words(tokens: Int[Tensor, "seed batch pos"], weights: Float[Tensor, "seed batch pos"]) -> Batch:
    """Every target predicted from the words before it; positions at which no row has a target are left out."""
    seeds, batch, length = tokens.shape
    columns = weights.amax((0, 1)).nonzero()[:, 0]
    positions = (torch.arange(batch)[:, None] * length + columns - 1).flatten().expand(seeds, -1)
    return Batch(tokens, positions, tokens[..., columns].flatten(1), weights[..., columns].flatten(1))


def masked_words(
    tokens: Int[Tensor, "seed batch pos"], weights: Float[Tensor, "seed batch pos"], rng: np.random.Generator
) -> tuple[Batch, Float[Tensor, "seed batch"]]:
    """Every word of a row hidden with the row's own probability t ~ U(0, 1), at least one, and to be said; and t.

    `weights` say how much a row counts by their largest; padding stands there for all to see.
    """
    hidden_share = torch.from_numpy(rng.random(tokens.shape[:2], dtype=np.float32))
    drawn = torch.from_numpy(rng.random(tokens.shape, dtype=np.float32))
    word = tokens != PAD
    hidden = word & (drawn < hidden_share[..., None])
    lowest = drawn.masked_fill(~word, 2.0).argmin(-1, keepdim=True)
    hidden |= torch.zeros_like(hidden).scatter_(-1, lowest, ~hidden.any(-1, keepdim=True))
    positions = torch.arange(tokens[0].numel()).expand(len(tokens), -1)
    counts = hidden * weights.amax(-1, keepdim=True)
    return Batch(
        tokens.masked_fill(hidden, MASKED), positions, tokens.flatten(1), counts.flatten(1)
    ), hidden_share
