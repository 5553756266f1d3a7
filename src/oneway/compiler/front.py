"""The front of every circuit: it spells out the last words at each position and finds where a question ends."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float

from oneway.compiler.circuit import Bank, Head, Role
from oneway.compiler.codes import Alphabet
from oneway.compiler.lookup import Form, Lookup, Words
from oneway.compiler.questions import takes_the_place
from oneway.compiler.residual import Residual, Span
from oneway.compiler.tokenizer import BOS, word_of

REACH = 8.0  # a neuron's pre-activation is at least this far from 0, on either side: GELU is x or 0 to 1e-14
CODE_WIDTH = 48
_TEXT_WIDTH = 32
_PHRASE = 12  # tokens of a template's text that are matched, where they tell all templates apart


@dataclass(frozen=True, slots=True)
class Phrases:
    """The texts of the templates before and after the name, cut to what tells them apart."""

    before: tuple[Words, ...]
    after: tuple[Words, ...]
    longest: int

    @classmethod
    def of(cls, forms: tuple[Form, ...]) -> "Phrases":
        whole = max(len(words) for form in forms for words in (form.before, form.after))
        texts = {(form.before, form.after, len(form.after)) for form in forms}
        longest = min(_PHRASE, whole)
        while longest < whole and len({(b[-longest:], a[-longest:], n) for b, a, n in texts}) < len(texts):
            longest += 1
        before = dict.fromkeys(form.before[-longest:] for form in forms if form.before)
        after = dict.fromkeys(form.after[-longest:] for form in forms)
        return cls(tuple(before), tuple(after), max(map(len, chain(before, after))))

    def after_of(self, form: Form) -> int:
        return self.after.index(form.after[-self.longest :])

    def before_of(self, form: Form) -> int:
        return self.before.index(form.before[-self.longest :])


@dataclass(frozen=True, slots=True)
class Front:
    """Alphabets, phrases and gates of a lookup; `gates` are (channel, distance from the name), a bit each."""

    lookup: Lookup
    names: Alphabet
    text: Alphabet
    phrases: Phrases
    gates: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, lookup: Lookup, seed: int, width: int = CODE_WIDTH) -> "Front":
        phrases = Phrases.of(lookup.forms)
        names = tuple(dict.fromkeys(chain.from_iterable(entry.name for entry in lookup.entries)))
        text = tuple(dict.fromkeys(chain.from_iterable((*phrases.before, *phrases.after))))
        gates = tuple(dict.fromkeys((form.channel, len(form.after)) for form in lookup.forms))
        return cls(
            lookup,
            Alphabet.of(names, width, seed),
            Alphabet.of(text, _TEXT_WIDTH, seed),
            phrases,
            gates,
        )

    def lay(self, residual: Residual) -> None:
        """The subspaces that the front writes."""
        residual.lay("constant", 2)
        residual.lay("balance", 1)
        residual.lay("bos", 1)
        for back in range(self.lookup.longest_name):
            residual.lay(f"name {back}", self.names.width)
        for back in range(self.phrases.longest):
            residual.lay(f"text {back}", self.text.width)
        residual.lay("after", len(self.phrases.after))
        for name in ("before", "before name", "before question"):
            residual.lay(name, len(self.phrases.before))
        residual.lay("gate", len(self.gates))
        residual.lay("asked 0", 1)

    def directions(self) -> dict[str, Alphabet]:
        """What the directions in the front's subspaces stand for."""
        before = Alphabet.of_bits([" ".join(phrase) for phrase in self.phrases.before])
        found = {
            "bos": Alphabet.of_bits([BOS]),
            "after": Alphabet.of_bits([" ".join(phrase) for phrase in self.phrases.after]),
            "before": before,
            "before name": before,
            "before question": before,
            "gate": Alphabet.of_bits([f"{channel}, {distance} back" for channel, distance in self.gates]),
            "asked 0": Alphabet.of_bits(["a question ends here"]),
        }
        found |= {f"name {back}": self.names for back in range(self.lookup.longest_name)}
        return found | {f"text {back}": self.text for back in range(self.phrases.longest)}

    def embedding(self, residual: Residual) -> list[tuple[Span, np.ndarray]]:
        """What the tokens have before the first block."""
        vocabulary = self.lookup.vocabulary
        bos = np.zeros((len(vocabulary), 1), dtype=np.float32)
        bos[vocabulary.index(BOS)] = 1.0
        words = tuple(map(word_of, vocabulary))
        return [
            (residual["bos"], bos),
            (residual["name 0"], self.names.table(words)),
            (residual["text 0"], self.text.table(vocabulary)),
        ]

    def spelling(self, residual: Residual) -> list[Head]:
        """Heads that copy the codes of the words before: name words, then template words."""
        found = [
            (Role.PREVIOUS_NAME, "name", back, self.names) for back in range(1, self.lookup.longest_name)
        ]
        found += [(Role.PREVIOUS_TEXT, "text", back, self.text) for back in range(1, self.phrases.longest)]
        return [
            Head(
                role,
                f"{kind} {back} back",
                back,
                residual[f"{kind} 0"],
                residual[f"{kind} {back}"],
                np.eye(alphabet.width, dtype=np.float32),
            )
            for role, kind, back, alphabet in found
        ]

    def phrase_neurons(self, residual: Residual) -> Bank:
        """One neuron a text of a template: it fires where the text ends, and sets the text's bit."""
        phrases = (*self.phrases.before, *self.phrases.after)
        at = {word: index for index, word in enumerate(self.text.words)}
        backwards = [[at[word] for word in reversed(phrase)] for phrase in phrases]
        bits = np.eye(len(phrases), dtype=np.float32) / REACH
        n = len(self.phrases.before)
        return Bank(
            Role.PHRASE,
            [" ".join(phrase) for phrase in phrases],
            spelled(backwards, "text", self.text, residual),
            threshold(backwards, self.text),
            [(0, residual["before"], bits[:n, :n]), (n, residual["after"], bits[n:, n:])],
            [self._asked(phrase) for phrase in phrases],
        )

    def _asked(self, phrase: Words) -> tuple[int, ...]:
        """The facts that are asked with a text."""
        m = self.phrases.longest
        channels = {f.channel for f in self.lookup.forms if phrase in (f.before[-m:], f.after[-m:])}
        return self._facts(channels)

    def _facts(self, channels: set[str]) -> tuple[int, ...]:
        return tuple(row for entry in self.lookup.entries if entry.channel in channels for row in entry.facts)

    def before_heads(self, residual: Residual) -> tuple[list[Head], list[Head]]:
        """Heads that carry the bit of a text before the name onto the name, and on to where the question ends."""
        same = np.eye(len(self.phrases.before), dtype=np.float32)
        if not len(same):
            return [], []
        onto = [
            Head(
                Role.BEFORE_NAME,
                f"text before a name of {length}",
                length,
                residual["before"],
                residual["before name"],
                same,
            )
            for length in range(1, self.lookup.longest_name + 1)
        ]
        distances = dict.fromkeys(len(form.after) for form in self.lookup.forms if form.before)
        on = [
            Head(
                Role.BEFORE_QUESTION,
                f"text before a name {distance} back",
                distance,
                residual["before name"],
                residual["before question"],
                same,
            )
            for distance in distances
        ]
        return onto, on

    def question_neurons(self, residual: Residual) -> Bank:
        """One neuron a template: both its texts are there, and none that takes its place. It opens gates."""
        forms = self.lookup.forms
        asked = list(dict.fromkeys((form.before, form.after) for form in forms))
        after = np.zeros((len(asked), len(self.phrases.after)), dtype=np.float32)
        before = np.zeros((len(asked), len(self.phrases.before)), dtype=np.float32)
        gates = np.zeros((len(asked), len(self.gates)), dtype=np.float32)
        bias = np.zeros(len(asked), dtype=np.float32)
        facts: list[tuple[int, ...]] = []
        for row, texts in enumerate(asked):
            same = [form for form in forms if (form.before, form.after) == texts]
            one = same[0]
            after[row, self.phrases.after_of(one)] = 2 * REACH
            bias[row] = -REACH
            if one.before:
                before[row, self.phrases.before_of(one)] = 2 * REACH
                bias[row] -= 2 * REACH
            for other in forms:
                if takes_the_place(other, one):
                    before[row, self.phrases.before_of(other)] = -4 * REACH
            for form in same:
                gates[row, self.gates.index((form.channel, len(form.after)))] = 1 / REACH
            facts.append(self._facts({form.channel for form in same}))
        return Bank(
            Role.QUESTION,
            [" ".join((*before_, "{name}", *after_)) for before_, after_ in asked],
            [(residual["after"], after), (residual["before question"], before)],
            bias,
            [
                (0, residual["gate"], gates),
                (0, residual["asked 0"], np.full((len(asked), 1), 1 / REACH, dtype=np.float32)),
            ],
            facts,
        )

    def asking_neurons(self, residual: Residual) -> Bank:
        """Phrase and question in one, where no template has text before the name: a neuron fires where a template's
        text ends and opens its gates."""
        at = {word: index for index, word in enumerate(self.text.words)}
        backwards = [[at[word] for word in reversed(phrase)] for phrase in self.phrases.after]
        gates = np.zeros((len(backwards), len(self.gates)), dtype=np.float32)
        facts = []
        for row, phrase in enumerate(self.phrases.after):
            same = [form for form in self.lookup.forms if form.after[-self.phrases.longest :] == phrase]
            for form in same:
                gates[row, self.gates.index((form.channel, len(form.after)))] = 1 / REACH
            facts.append(self._facts({form.channel for form in same}))
        return Bank(
            Role.QUESTION,
            [" ".join(("{name}", *phrase)) for phrase in self.phrases.after],
            spelled(backwards, "text", self.text, residual),
            threshold(backwards, self.text),
            [
                (0, residual["gate"], gates),
                (0, residual["asked 0"], np.full((len(backwards), 1), 1 / REACH, dtype=np.float32)),
            ],
            facts,
        )


def gain(alphabet: Alphabet) -> float:
    """The input weight of a word's code with which one wrong word is a distance of at least 2·REACH."""
    return 2 * REACH / (1 - alphabet.likeness)


def spelled(
    backwards: list[list[int]], kind: str, alphabet: Alphabet, residual: Residual
) -> list[tuple[Span, np.ndarray]]:
    """Input weights of neurons that fire on words: `backwards` has their numbers, the last word first."""
    longest = max(map(len, backwards), default=0)
    found = []
    for back in range(longest):
        rows = [row for row, words in enumerate(backwards) if len(words) > back]
        pattern = np.zeros((len(backwards), alphabet.width), dtype=np.float32)
        pattern[rows] = gain(alphabet) * alphabet.codes[[backwards[row][back] for row in rows]]
        found.append((residual[f"{kind} {back}"], pattern))
    return found


def threshold(backwards: list[list[int]], alphabet: Alphabet) -> Float[np.ndarray, " neuron"]:
    """The bias with which all words right give +REACH, and one word wrong at most −REACH."""
    return np.array([REACH - gain(alphabet) * len(words) for words in backwards], dtype=np.float32)
