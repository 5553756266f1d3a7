"""The back of every circuit: where a question ends, heads of its relation read the answer off the name."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from oneway.compiler.circuit import Head, Role
from oneway.compiler.codes import Alphabet
from oneway.compiler.front import CODE_WIDTH, Front
from oneway.compiler.lookup import Lookup
from oneway.compiler.residual import Residual, Span

SLOT_SCALE = 0.5  # amplitude of an answer on the name: it must not weigh in LayerNorm

OUTPUTS = ("output", "next output", "next-next output")


def output_name(place: int) -> str:
    """What the thread calls the direction of an answer's token: output, next output, next-next output, …"""
    return OUTPUTS[place] if place < len(OUTPUTS) else f"{'next-' * (place - 1)}next output"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the facts of a channel write one token of their answers, on the name: `codes` of `words`."""

    alphabet: Alphabet
    transport: Float[np.ndarray, "code output"]  # from the slot to the output

    @property
    def codes(self) -> Float[np.ndarray, "word code"]:
        """What a fact writes to say each word."""
        return SLOT_SCALE * self.alphabet.codes


@dataclass(frozen=True, slots=True)
class Back:
    """The alphabet of answers and a slot for each channel and place in the answer."""

    lookup: Lookup
    answers: Alphabet
    slots: dict[tuple[str, int], Slot]

    @classmethod
    def of(cls, lookup: Lookup, seed: int, width: int = CODE_WIDTH) -> "Back":
        words = tuple(dict.fromkeys(word for entry in lookup.entries for word in entry.answer))
        answers = Alphabet.of(words, width, seed + 1)
        at = {word: index for index, word in enumerate(words)}
        said: dict[tuple[str, int], dict[str, None]] = {}
        for entry in lookup.entries:
            for place, word in enumerate(entry.answer):
                said.setdefault((entry.channel, place), {})[word] = None
        slots = {}
        for key, found in said.items():
            codes = answers.codes[[at[word] for word in found]]
            if len(found) < answers.width:  # few words need no more dimensions than they are
                slots[key] = Slot(Alphabet.of_bits(tuple(found)), codes / SLOT_SCALE)
            else:
                same = np.eye(answers.width, dtype=np.float32)
                slots[key] = Slot(Alphabet(tuple(found), codes, answers.likeness), same / SLOT_SCALE)
        return cls(lookup, answers, slots)

    def lay(self, residual: Residual) -> None:
        """The subspaces on the name, and those of the outputs."""
        for (channel, place), slot in self.slots.items():
            residual.lay(slot_name(channel, place), slot.alphabet.width)
        self.lay_outputs(residual)

    def lay_outputs(self, residual: Residual) -> None:
        """The subspaces where the question ends, and where the answer is said."""
        for place in range(self.lookup.longest_answer):
            residual.lay(output_name(place), self.answers.width)
        for back in range(1, self.lookup.longest_answer - 1):
            residual.lay(f"asked {back}", 1)

    def directions(self) -> dict[str, Alphabet]:
        """What the directions in the back's subspaces stand for."""
        found = {slot_name(*key): slot.alphabet for key, slot in self.slots.items()}
        found |= {output_name(place): self.answers for place in range(self.lookup.longest_answer)}
        asked = range(1, self.lookup.longest_answer - 1)
        return found | {
            f"asked {back}": Alphabet.of_bits([f"a question ended {back} back"]) for back in asked
        }

    def relation_heads(self, front: Front, residual: Residual) -> list[Head]:
        """For every relation, distance from its name and place in the answer: a head that the question opens."""
        return [
            Head(
                Role.RELATION,
                f"{channel}: {output_name(place)}, {distance} back",
                distance,
                residual[slot_name(channel, place)],
                residual[output_name(place)],
                slot.transport,
                opened_by=(residual["gate"].dim(gate),),
                channels=(channel,),
            )
            for gate, (channel, distance) in enumerate(front.gates)
            for (of, place), slot in self.slots.items()
            if of == channel
        ]

    def asked_heads(self, residual: Residual) -> list[Head]:
        """Heads that remember for some tokens that a question ended."""
        same = np.eye(1, dtype=np.float32)
        return [
            Head(Role.ASKED, f"asked {back} back", back, residual["asked 0"], residual[f"asked {back}"], same)
            for back in range(1, self.lookup.longest_answer - 1)
        ]

    def next_heads(self, residual: Residual) -> list[Head]:
        """Heads that move later tokens of the answer to where they are said, unless another question came since."""
        same = np.eye(self.answers.width, dtype=np.float32)
        return [
            Head(
                Role.NEXT_OUTPUT,
                f"{output_name(place)} to output",
                place,
                residual[output_name(place)],
                residual["output"],
                same,
                closed_by=tuple(residual[f"asked {back}"].start for back in range(place)),
            )
            for place in range(1, self.lookup.longest_answer)
        ]

    @property
    def lead(self) -> float:
        """By how much the right token leads any other, END included, where an answer's code stands alone."""
        return min(0.5, 1 - self.answers.likeness)

    def unembedding(self, residual: Residual, scale: float) -> tuple[Span, np.ndarray, float]:
        """The output's subspace, what each token has there, and the logit of END: half of what a right token has."""
        return residual["output"], scale * self.answers.table(self.lookup.vocabulary), scale / 2


def slot_name(channel: str, place: int) -> str:
    """The subspace in which the facts of a channel write one token of their answer."""
    return f"{channel}: {output_name(place)}"
