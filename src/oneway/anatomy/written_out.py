"""F20: early MLPs written out as a table: what each of them adds on a token is looked up, not computed.

A table has an entry for some sequences of tokens: single tokens, or names. On every token the outputs of the MLPs are
those of the longest entry that ends there, and where none does their mean over a text. The BOS always has an entry,
what is written on it when nothing stands before it.

Source: the Fact Finding sequence (Nanda et al. 2023), post 1, a footnote: replace the MLPs by the facts that were found
and see how much of the loss is recovered.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from oneway.engine import Engine, Patch, Site
from oneway.engine.following import Unembedded

AT_ONCE = 64  # texts
Key = tuple[int, ...]
Outputs = Float[Tensor, "layer d_model"]


class Text(NamedTuple):
    """Token ids, and which of them are to be foretold; the first is not."""

    tokens: Int[np.ndarray, " pos"]
    target: Bool[np.ndarray, " pos"]


@dataclass(frozen=True, slots=True, eq=False)
class WrittenOut:
    """What the MLPs of some layers write, by the tokens that end where they write; `mean` for all others."""

    layers: tuple[int, ...]
    mean: Outputs
    entries: Mapping[Key, Outputs]

    def with_entries(self, more: Mapping[Key, Outputs]) -> "WrittenOut":
        """The same table with further entries."""
        return replace(self, entries={**self.entries, **more})

    def outputs(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "layer row pos d_model"]:
        """What the layers' MLPs write on every token of some texts."""
        lengths = sorted({len(key) for key in self.entries}, reverse=True)
        numbers = {key: number for number, key in enumerate(self.entries, start=1)}
        chosen = [
            [
                next((n for k in lengths if (n := numbers.get(tuple(row[max(0, end - k) : end])))), 0)
                for end in range(1, len(row) + 1)
            ]
            for row in tokens.tolist()
        ]
        return torch.stack([self.mean, *self.entries.values()], dim=1)[:, torch.tensor(chosen)]

    def patches(self, tokens: Int[Tensor, "row pos"]) -> list[Patch]:
        """The table in the place of the MLPs, for a run of these texts."""
        outputs = self.outputs(tokens)
        return [Patch(Site("mlp_out", layer), own) for layer, own in zip(self.layers, outputs, strict=True)]


def shuffled(entries: Mapping[Key, Outputs], seed: int) -> dict[Key, Outputs]:
    """Every entry put in another one's place. Raises ValueError where there are fewer than two."""
    if len(entries) < 2:
        raise ValueError(f"{len(entries)} entries cannot be shuffled")
    order = np.random.default_rng(seed).permutation(len(entries))
    keys, values = list(entries), list(entries.values())
    return {keys[a]: values[b] for a, b in zip(order, np.roll(order, 1), strict=True)}


def empty_table(engine: Engine, layers: Sequence[int], texts: Iterable[Text]) -> WrittenOut:
    """A table without entries but the BOS's; `mean` is taken over all other tokens of the texts."""
    totals = token_outputs(engine, layers, texts)
    front = _front(engine)
    count = sum(n for key, (_, n) in totals.items() if list(key) != front)
    mean = torch.stack([total for key, (total, _) in totals.items() if list(key) != front]).sum(0) / count
    entries = {tuple(front): _read(engine, layers, torch.tensor([front]))[:, 0, -1]} if front else {}
    return WrittenOut(tuple(layers), mean, entries)


def token_entries(engine: Engine, layers: Sequence[int], texts: Iterable[Text]) -> dict[Key, Outputs]:
    """Every token's mean outputs over a text: a table of single tokens. The BOS is left out."""
    front = _front(engine)
    totals = token_outputs(engine, layers, texts)
    return {key: total / count for key, (total, count) in totals.items() if list(key) != front}


def name_entries(engine: Engine, layers: Sequence[int], names: Iterable[Key]) -> dict[Key, Outputs]:
    """The outputs on the last token of every name where it stands alone, behind a BOS if the tokenizer has one."""
    front = _front(engine)
    groups = defaultdict[int, list[Key]](list)
    for name in names:
        groups[len(name)].append(name)
    found = dict[Key, Outputs]()
    for group in groups.values():
        outputs = _read(engine, layers, torch.tensor([[*front, *name] for name in group]))[:, :, -1]
        found |= dict(zip(group, outputs.unbind(1), strict=True))
    return found


def token_outputs(
    engine: Engine, layers: Sequence[int], texts: Iterable[Text]
) -> dict[Key, tuple[Outputs, int]]:
    """For every token of the texts the sum of the MLPs' outputs on it, and how often it stands there."""
    sums = dict[Key, tuple[Outputs, int]]()
    for _, tokens in _alike(list(texts)):
        outputs = _read(engine, layers, tokens).flatten(1, 2)
        ids, index, counts = tokens.unique(return_inverse=True, return_counts=True)
        totals = outputs.new_zeros(len(layers), len(ids), outputs.shape[-1])
        totals.index_add_(1, index.flatten(), outputs)
        for number, (token_id, count) in enumerate(zip(ids.tolist(), counts.tolist(), strict=True)):
            before, times = sums.get((token_id,), (torch.zeros(()), 0))
            sums[(token_id,)] = (before + totals[:, number], times + count)
    return sums


def losses(
    engine: Engine, texts: Sequence[Text], table: WrittenOut | None = None
) -> list[Float[Tensor, " target"]]:
    """−log P of every target of every text, in nats; with a table in the place of the MLPs."""
    found: list[Tensor] = [torch.empty(0)] * len(texts)
    site = Site("final_norm")
    for numbers, tokens in _alike(texts):
        patches = [] if table is None else table.patches(tokens)
        final = engine.run(tokens, [site], patches)[site]
        target = torch.stack([torch.from_numpy(texts[number].target) for number in numbers])
        rows, places = target.nonzero(as_tuple=True)
        said = Unembedded(engine.prepared, final[rows, places - 1], len(rows))
        nats, _ = said.log_probabilities(torch.arange(len(rows)), tokens[rows, places])
        for number, own in zip(numbers, (-nats.cpu()).split(target.sum(1).tolist()), strict=True):
            found[number] = own
    return found


def _read(
    engine: Engine, layers: Sequence[int], tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "layer row pos d_model"]:
    sites = [Site("mlp_out", layer) for layer in layers]
    found = engine.run(tokens, sites)
    return torch.stack([found[site] for site in sites]).cpu()


def _alike(texts: Sequence[Text]) -> Iterator[tuple[list[int], Int[Tensor, "row pos"]]]:
    """Some texts of one length at a time: which they are, and their tokens."""
    groups = defaultdict[int, list[int]](list)
    for number, text in enumerate(texts):
        groups[len(text.tokens)].append(number)
    for group in groups.values():
        for start in range(0, len(group), AT_ONCE):
            numbers = group[start : start + AT_ONCE]
            yield numbers, torch.from_numpy(np.stack([texts[number].tokens for number in numbers]))


def _front(engine: Engine) -> list[int]:
    bos = None if engine.tokenizer is None else engine.tokenizer.bos_token_id
    return [] if bos is None else [int(bos)]
