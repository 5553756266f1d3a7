"""Neuron per fact: every fact has a neuron of its own that fires on its subject's words and writes its answer.

The circuit of N1: heads spell the name out on its last token, one neuron a fact fires on `current AND previous …` and
writes output, next output, next-next output in the subspace of its relation; the rest reads it off.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from oneway.compiler.back import Back, slot_name
from oneway.compiler.capacity import Capacity
from oneway.compiler.circuit import Bank, Circuit, Role, place, put
from oneway.compiler.codes import Alphabet
from oneway.compiler.decoys import WIDTH as DECOY_WIDTH
from oneway.compiler.decoys import add_decoys
from oneway.compiler.front import REACH, Front, spelled, threshold
from oneway.compiler.lookup import Entry, Lookup, Words
from oneway.compiler.refusal import CompileError
from oneway.compiler.residual import Residual

HEAD_WIDTH = 64
LOUDER = 0.25  # by how much a name speaks louder for each word that it is shorter than the longest

STEADY, STEADY_IN_NOISE = 16.0, 3.0

FREQUENCIES = 31  # of the position code: with the dimension for BOS they fill a head


def plan_circuit(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """The circuit of a lookup. Raises CompileError where a size that was asked for is too small."""
    copies = _copies(capacity)
    front, back = Front.of(lookup, capacity.seed), Back.of(lookup, capacity.seed)
    shadows = Shadows(lookup)
    residual = Residual()
    front.lay(residual)
    residual.lay("longer", len(shadows.lengths))
    back.lay(residual)
    if capacity.decoys:
        residual.lay("decoy", DECOY_WIDTH)
    if architecture == "gpt2":
        residual.lay("position", 2 * FREQUENCIES)
    check_sizes(lookup, residual, capacity)
    if capacity.width is not None:
        residual.lay("spare", capacity.width - residual.width)
    span, unembedding, end = back.unembedding(residual, capacity.margin / back.lead)
    circuit = Circuit(
        residual=residual,
        vocabulary=lookup.vocabulary,
        head_width=HEAD_WIDTH,
        positions=capacity.positions,
        layers=[],
        embedding=front.embedding(residual),
        unembedding=(span, unembedding),
        end_logit=end,
        activity=_activity(front, back, shadows),
        steadiness=STEADY_IN_NOISE if capacity.noise else STEADY,
        directions={
            **front.directions(),
            **back.directions(),
            "longer": Alphabet.of_bits([f"a known name of {length} words" for length in shadows.lengths]),
        },
    )
    _fill(circuit, front, back, shadows, capacity.neurons, copies)
    if capacity.decoys:
        add_decoys(circuit, capacity.decoys, capacity.seed)
    needed = max(layer.neurons for layer in circuit.layers)
    if capacity.neurons is not None and capacity.neurons < needed:
        raise CompileError(
            [f"with decoys a block needs {needed} neurons: that is the smallest that would do"]
        )
    circuit.neurons = capacity.neurons or needed
    return circuit


class Shadows:
    """Known names that end in other known names: on the longer one, the shorter ones have to be silent."""

    def __init__(self, lookup: Lookup) -> None:
        self.entries: dict[Words, dict[str, Entry]] = defaultdict(dict)
        for entry in lookup.entries:
            self.entries[entry.name][entry.channel] = entry
        self.shorter: dict[Words, Words] = {}
        for name in self.entries:
            ends = (name[start:] for start in range(1, len(name)))
            known = next((end for end in ends if end in self.entries), ())
            if known:
                self.shorter[name] = known
        self.lengths = tuple(sorted({len(name) for name in self.shorter}))
        self.longest = lookup.longest_name

    def loudness(self, name: Words) -> float:
        """The amplitude of a name's answers: a shorter name drowns a longer one that does not silence it."""
        return 1.0 + LOUDER * (self.longest - len(name)) * bool(self.shorter)

    def served(self, name: Words) -> tuple[int, ...]:
        """The facts of a name that are lost where the longest shorter name speaks as well."""
        louder = self.entries[self.shorter[name]]
        return tuple(
            row
            for channel, entry in self.entries[name].items()
            if channel in louder and _drowned(entry.answer, louder[channel].answer)
            for row in entry.facts
        )


def _drowned(answer: Words, louder: Words) -> bool:
    return any(place >= len(answer) or answer[place] != word for place, word in enumerate(louder))


def check_sizes(lookup: Lookup, residual: Residual, capacity: Capacity, head_width: int = HEAD_WIDTH) -> None:
    """Raises CompileError where positions or width are too small, with the smallest that would do."""
    reasons = []
    needed = max(
        1 + len(form.before) + len(entry.name) + len(form.after) + len(entry.answer)
        for form, entry in _asked(lookup)
    )
    if needed > capacity.positions:
        reasons.append(
            f"the longest question with its answer takes {needed} positions, more than {capacity.positions}: "
            f"the smallest that would do is {needed}"
        )
    smallest = -(-residual.width // head_width) * head_width
    if capacity.width is not None and (capacity.width < smallest or capacity.width % head_width):
        reasons.append(
            f"the circuit does not fit a width of {capacity.width}: the smallest that would do is {smallest}, "
            f"and it must be a multiple of the head width {head_width}"
        )
    if reasons:
        raise CompileError(reasons)


def _asked(lookup: Lookup) -> Sequence[tuple]:
    longest: dict[str, Entry] = {}
    for entry in lookup.entries:
        known = longest.get(entry.channel)
        if known is None or len(entry.name) + len(entry.answer) > len(known.name) + len(known.answer):
            longest[entry.channel] = entry
    return [(form, longest[form.channel]) for form in lookup.forms if form.channel in longest]


def _activity(front: Front, back: Back, shadows: Shadows) -> float:
    """A bound of |x|² without constants and positions: every subspace full, and as much again for the balance."""
    spelling = front.lookup.longest_name + front.phrases.longest + 8
    loud = (1 + LOUDER * (shadows.longest - 1) * bool(shadows.shorter)) ** 2
    answers = loud * (0.25 * len(back.slots) + front.lookup.longest_answer)
    return 2 * (spelling + answers)


def _copies(capacity: Capacity) -> int:
    copies = 1 if capacity.neurons_per_fact is None else capacity.neurons_per_fact
    if copies < 1 or copies != int(copies):
        raise CompileError([f"neuron-per-fact takes whole neurons for each fact, not {copies}"])
    return int(copies)


def _fill(
    circuit: Circuit, front: Front, back: Back, shadows: Shadows, neurons: int | None, copies: int
) -> None:
    residual, layers, heads = circuit.residual, circuit.layers, circuit.heads
    silencers = list(shadows.shorter)
    entries = [entry for entry in front.lookup.entries for _ in range(copies)]
    phrases, questions = front.phrase_neurons(residual), front.question_neurons(residual)
    onto, on = front.before_heads(residual)
    first = max(place(front.spelling(residual), layers, 0, heads), 1)
    asking = place(on, layers, place(onto, layers, first + 1, heads), heads)
    loads = Loads(first, asking, len(phrases), len(questions), len(silencers), len(entries))
    blocks = loads.best(circuit.width, neurons)
    put(phrases, layers, first)
    put(questions, layers, asking)
    for block, part in enumerate(_dealt(silencers, blocks[0])):
        put(_silencers(part, front, shadows, residual), layers, first + block)
    for block, part in enumerate(_dealt(entries, blocks[1])):
        bank = _facts(part, front, back, shadows, residual, copies)
        put(bank, layers, first + blocks[0] + block)
    reading = max(first + sum(blocks), asking + 1)
    reads = [*back.asked_heads(residual), *back.relation_heads(front, residual)]
    place(back.next_heads(residual), layers, place(reads, layers, reading, heads), heads)


@dataclass(frozen=True, slots=True)
class Loads:
    """How many neurons there are to put somewhere: phrases from layer `first` on, questions in layer `asking`."""

    first: int
    asking: int
    phrases: int
    questions: int
    silencers: int
    facts: int

    def widest(self, silencing: int, knowing: int) -> int:
        """The neurons of the fullest block, for silencers and then facts in so many blocks."""
        load: dict[int, int] = defaultdict(int)
        load[self.first] += self.phrases
        load[self.asking] += self.questions
        for block in range(silencing):
            load[self.first + block] += -(-(self.silencers - block) // silencing)
        for block in range(knowing):
            load[self.first + silencing + block] += -(-(self.facts - block) // knowing)
        return max(load.values())

    def best(self, width: int, neurons: int | None) -> tuple[int, int]:
        """In how many blocks silencers and facts go, so that all blocks together have the fewest weights.

        Raises CompileError where no choice does with `neurons` in every block.
        """
        choices = {of: self.widest(*of) for of in product(range(1, 17), range(1, 33))}
        fits = {of: widest for of, widest in choices.items() if neurons is None or widest <= neurons}
        if not fits:
            raise CompileError(
                [
                    f"{neurons} neurons in a block are too few: the smallest that would do is {min(choices.values())}"
                ]
            )

        def size(of: tuple[int, int]) -> int:
            layers = max(self.first + sum(of), self.asking + 1) + 2
            return layers * (4 * width**2 + 2 * width * fits[of])

        return min(fits, key=size)


def _dealt(items: Sequence, blocks: int) -> list[list]:
    return [list(items[block::blocks]) for block in range(blocks)]


def _word_numbers(front: Front) -> Mapping[str, int]:
    return {word: index for index, word in enumerate(front.names.words)}


def _silencers(names: Sequence[Words], front: Front, shadows: Shadows, residual: Residual) -> Bank:
    """A neuron a long name: it sets the bit of its length, which shorter names read with a large negative weight."""
    at = _word_numbers(front)
    backwards = [[at[word] for word in reversed(name)] for name in names]
    bits = np.zeros((len(names), len(shadows.lengths)), dtype=np.float32)
    for row, name in enumerate(names):
        bits[row, shadows.lengths.index(len(name))] = 1 / REACH
    return Bank(
        Role.LONGER_NAME,
        [" ".join(name) for name in names],
        spelled(backwards, "name", front.names, residual),
        threshold(backwards, front.names),
        [(0, residual["longer"], bits)],
        [shadows.served(name) for name in names],
    )


def _facts(
    entries: Sequence[Entry], front: Front, back: Back, shadows: Shadows, residual: Residual, copies: int
) -> Bank:
    """A neuron a fact, those of one channel side by side."""
    entries = sorted(entries, key=lambda entry: entry.channel)
    at = _word_numbers(front)
    backwards = [[at[word] for word in reversed(entry.name)] for entry in entries]
    longer = np.zeros((len(entries), len(shadows.lengths)), dtype=np.float32)
    for column, length in enumerate(shadows.lengths):
        longer[[len(entry.name) < length for entry in entries], column] = -4 * REACH
    loud = np.array([shadows.loudness(entry.name) for entry in entries], dtype=np.float32) / REACH / copies
    writes = []
    for (channel, place_), slot in back.slots.items():
        rows = [row for row, entry in enumerate(entries) if entry.channel == channel]
        if not rows:
            continue
        number = {word: index for index, word in enumerate(slot.alphabet.words)}
        pattern = np.zeros((len(rows), slot.alphabet.width), dtype=np.float32)
        said = [
            (i, number[entries[row].answer[place_]])
            for i, row in enumerate(rows)
            if len(entries[row].answer) > place_
        ]
        if said:
            some, words = map(list, zip(*said, strict=True))
            pattern[some] = loud[rows][some, None] * slot.codes[words]
            writes.append((rows[0], residual[slot_name(channel, place_)], pattern))
    return Bank(
        Role.FACT,
        [f"{' '.join(entry.name)} | {entry.channel} | {' '.join(entry.answer)}" for entry in entries],
        [*spelled(backwards, "name", front.names, residual), (residual["longer"], longer)],
        threshold(backwards, front.names),
        writes,
        [entry.facts for entry in entries],
    )
