"""A lookup's facts as examples to fit, and how much of every fact's margin each neuron carries."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.compiler import fitting
from oneway.compiler.back import SLOT_SCALE, Back
from oneway.compiler.fitting import NEVER, Examples, Fitted
from oneway.compiler.front import Front
from oneway.compiler.lookup import Lookup, Words


@dataclass(frozen=True)
class Knowledge:
    """The known names, and what is to be said of them: `target` as in `Examples`, a column for each channel and
    place."""

    lookup: Lookup
    front: Front
    back: Back
    names: tuple[Words, ...]
    target: Tensor

    @classmethod
    def of(cls, lookup: Lookup, front: Front, back: Back) -> "Knowledge":
        names = tuple(dict.fromkeys(entry.name for entry in lookup.entries))
        row = {name: index for index, name in enumerate(names)}
        word = {word: index for index, word in enumerate(back.answers.words)}
        channels, places = lookup.channels, lookup.longest_answer
        target = torch.full((len(names), len(channels), places), NEVER)
        target[:, :, 0] = len(word)
        for entry in lookup.entries:
            said = [*(word[token] for token in entry.answer), len(word)][:places]
            target[row[entry.name], channels.index(entry.channel), : len(said)] = torch.tensor(said)
        return cls(lookup, front, back, names, target.flatten(1))

    def codes(self, names: tuple[Words, ...]) -> Float[Tensor, "name code"]:
        """The codes of the words of names, the last word's first; zeros beyond the first word."""
        alphabet = self.front.names
        number = {word: index for index, word in enumerate(alphabet.words)}
        at = np.full((len(names), self.lookup.longest_name), len(number))
        for row, name in enumerate(names):
            at[row, : len(name)] = [number[word] for word in reversed(name)]
        table = np.vstack([alphabet.codes, np.zeros((1, alphabet.width), dtype=np.float32)])
        return torch.from_numpy(table[at].reshape(len(names), self.lookup.longest_name * alphabet.width))

    def strangers(self, seed: int) -> Callable[[int], Float[Tensor, "_ code"]]:
        """Draws names with one word of a known one changed."""
        rng = np.random.default_rng(seed)
        known = set(self.names)

        def draw(count: int) -> Tensor:
            found: list[Words] = []
            for _ in range(count):
                words = list(self.names[int(rng.integers(len(self.names)))])
                words[int(rng.integers(len(words)))] = self.front.names.words[
                    int(rng.integers(len(self.front.names.words)))
                ]
                if tuple(words) not in known:
                    found.append(tuple(words))
            return self.codes(tuple(found))

        return draw

    def columns(self) -> dict[tuple[str, int], slice]:
        """The columns of y that hold a channel's and place's token."""
        found, start = {}, 0
        for key, slot in self.back.slots.items():
            found[key] = slice(start, start + slot.alphabet.width)
            start += slot.alphabet.width
        return found

    def examples(self, seed: int) -> Examples:
        """Examples whose inputs are the codes of names. In the units of y a slot's codes have length 1."""
        columns, channels = self.columns(), self.lookup.channels
        slots = []
        for channel in channels:
            for place in range(self.lookup.longest_answer):
                slot = self.back.slots.get((channel, place))
                transport = None if slot is None else torch.from_numpy(SLOT_SCALE * slot.transport)
                slots.append(None if slot is None else fitting.Slot(columns[channel, place], transport))
        places = self.lookup.longest_answer
        return Examples(
            inputs=self.codes(self.names),
            target=self.target,
            slots=tuple(slots),
            first=tuple(range(0, places * len(channels), places)),
            codes=torch.from_numpy(self.back.answers.codes),
            columns=max(part.stop for part in columns.values()),
            base=None,
            strangers=self.strangers(seed),
        )

    def asked(self) -> Tensor:
        """`target` with the questions of the table alone, those that have no answer left out."""
        target = self.target.clone().unflatten(1, (len(self.lookup.channels), -1))
        unknown = target[:, :, 0] == len(self.back.answers.words)
        target[unknown] = NEVER
        return target.flatten(1)

    def margins(self, examples: Examples, y: Tensor) -> Float[np.ndarray, " fact"]:
        """Of every row of the table: the least lead of a right token, END after the answer included."""
        found = fitting.leads(replace(examples, target=self.asked()), y)
        least = found.unflatten(1, (len(self.lookup.channels), -1)).amin(2).numpy()
        row = {name: index for index, name in enumerate(self.names)}
        margins = np.zeros(1 + max(max(entry.facts) for entry in self.lookup.entries), dtype=np.float32)
        channels, longest = self.lookup.channels, self.lookup.longest_answer
        for entry in self.lookup.entries:
            channel = channels.index(entry.channel)
            # After the longest answers nothing is moved to the output any more: there END leads by its own value.
            ended = 0.5 if len(entry.answer) == longest else np.inf
            margins[list(entry.facts)] = min(least[row[entry.name], channel], ended)
        return margins

    def lost(self, examples: Examples, fitted: Fitted) -> Float[np.ndarray, "neuron fact"]:
        """By how much the margin of every row falls where one neuron of the layer is silent."""
        hidden, whole = fitted.hidden(examples.inputs), fitting.outputs(examples, fitted)
        before = self.margins(examples, whole)
        parts = (torch.outer(hidden[:, unit], fitted.w_out[unit]) for unit in range(fitted.neurons))
        return np.stack([before - self.margins(examples, whole - part) for part in parts])

    def lost_inputs(self, examples: Examples, fitted: Fitted) -> Float[np.ndarray, "input fact"]:
        """By how much the margin of every row falls where one input of the layer is 0."""
        before = self.margins(examples, fitting.outputs(examples, fitted))
        found = []
        for unit in range(examples.inputs.shape[1]):
            inputs = examples.inputs.clone()
            inputs[:, unit] = 0
            without = replace(examples, inputs=inputs)
            found.append(before - self.margins(without, fitting.outputs(without, fitted)))
        return np.stack(found)
