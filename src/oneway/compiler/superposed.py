"""Facts superposed on neurons that all know many: `single-step`, `hash-and-lookup`, `partial-hash`.

Around the neurons the circuit is that of `neuron-per-fact`, in as few blocks as there can be, since every block has as
many neurons as the one that knows. A name is the whole run of name words that ends at the slot: heads that spell it
stop at any other word, and the neurons are silent where no name word stands.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.compiler.arrangement import arrange
from oneway.compiler.back import SLOT_SCALE, Back, slot_name
from oneway.compiler.capacity import Capacity
from oneway.compiler.circuit import Bank, Circuit, Head, Role, put
from oneway.compiler.codes import Alphabet
from oneway.compiler.decoys import WIDTH as DECOY_WIDTH
from oneway.compiler.decoys import add_decoys
from oneway.compiler.fitting import ENOUGH, Examples, Fitted, fit, outputs, ridge, right_values
from oneway.compiler.front import REACH, Front
from oneway.compiler.knowledge import Knowledge
from oneway.compiler.lookup import Lookup
from oneway.compiler.neuron_per_fact import FREQUENCIES, HEAD_WIDTH, STEADY, STEADY_IN_NOISE, check_sizes
from oneway.compiler.refusal import CompileError
from oneway.compiler.residual import Residual, Span
from oneway.compiler.tokenizer import BOS, word_of

WIDTH = 64  # of the codes of words, in names and in answers
HASH_GAIN, HASH_THRESHOLD = 3.0, 2.0
HASH_LENGTH = 2.0  # of a hash code, root mean square
LOOKUP_BLOCKS = 3  # that look hash codes up: blocks that only read and move cost as many neurons
GROWTH = 1.25  # of blocks that cannot know all
WEAK = 0.15  # the mean value of a right word that `partial-hash` writes early; END has ½


@dataclass(slots=True)
class Ground:
    """A circuit with every head in its place and no neuron yet; `knowing` is the block of the first MLP that knows."""

    front: Front
    back: Back
    circuit: Circuit
    knowing: int
    asking: tuple[tuple[int, Bank], ...]  # the neurons that find where a question ends, and their blocks

    @classmethod
    def of(
        cls, lookup: Lookup, capacity: Capacity, architecture: str, stages: int, hashed: int = 0
    ) -> "Ground":
        """The ground for so many layers that know, and hash codes of width `hashed`."""
        _refuse(lookup)
        front, back = Front.of(lookup, capacity.seed, WIDTH), Back.of(lookup, capacity.seed, WIDTH)
        residual = _residual(front, back, capacity, architecture, hashed)
        directions = {
            **front.directions(),
            **back.directions(),
            "no name": Alphabet.of_bits(["no word of a name"]),
            "hash": Alphabet.of_bits([f"hash {unit}" for unit in range(hashed)]),
        }
        circuit = Circuit(
            residual=residual,
            vocabulary=lookup.vocabulary,
            head_width=HEAD_WIDTH,
            positions=capacity.positions,
            layers=[],
            embedding=[*front.embedding(residual), (residual["no name"], _no_name(front))],
            unembedding=None,
            end_logit=0.0,
            activity=0.0,
            directions=directions,
            steadiness=STEADY_IN_NOISE if capacity.noise else STEADY,
        )
        stop = residual["no name"].start
        arranged = arrange(
            circuit,
            front,
            [_stopped(head, stop) for head in front.spelling(residual)],
            [*back.asked_heads(residual), *back.relation_heads(front, residual)],
            back.next_heads(residual),
            stages,
            architecture,
        )
        return cls(front, back, circuit, arranged.knowing, arranged.asking)

    def room(self, neurons: int, stage: int) -> int:
        """What is left of a block's neurons for a stage of the lookup."""
        return neurons - sum(len(bank) for at, bank in self.asking if at == self.knowing + stage)

    def least(self) -> int:
        """Neurons of a block with which every stage has one at least."""
        return 1 + max(len(bank) for _, bank in self.asking)


@dataclass(frozen=True, slots=True)
class Known:
    """What was fitted in blocks of a size, and for which ground; `hashing` is the layer before, where there is one."""

    ground: Ground
    knowledge: Knowledge
    examples: Examples
    fitted: Fitted
    hashing: Fitted | None = None


def single_step(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """One layer: each neuron serves many names, each name has many neurons.

    Raises CompileError where a size that was asked for is too small.
    """
    ground = Ground.of(lookup, capacity, architecture, 1)
    knowledge = Knowledge.of(lookup, ground.front, ground.back)
    examples = knowledge.examples(capacity.seed)

    def attempt(neurons: int) -> Known:
        fitted = fit(examples, ground.room(neurons, 0), _gelu(architecture), capacity.seed)
        return Known(ground, knowledge, examples, fitted)

    known = _smallest(attempt, ground, lookup, capacity, 0.25)
    writes = _slot_writes(ground, knowledge, known.fitted.w_out)
    lost = knowledge.lost(examples, known.fitted)
    stage = Stage(Role.LOOKUP, _name_reads(ground, known.fitted.w_in), known.fitted.bias, writes, lost)
    return _whole(known, [stage], capacity)


def hash_and_lookup(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """A random layer that breaks the linear structure of names, then neurons that look its codes up.

    Every channel has neurons of its own among these. Raises CompileError as `single_step` does.
    """
    return _hashed(lookup, capacity, architecture, 0.0)


def partial_hash(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """`hash_and_lookup`, but that the first layer writes the answers weakly besides, as well as it linearly can."""
    return _hashed(lookup, capacity, architecture, WEAK)


def _hashed(lookup: Lookup, capacity: Capacity, architecture: str, weak: float) -> Circuit:
    stages = 1 + LOOKUP_BLOCKS
    bare = Ground.of(lookup, capacity, architecture, stages)

    def attempt(neurons: int) -> Known:
        ground = Ground.of(lookup, capacity, architecture, stages, bare.room(neurons, 0))
        knowledge = Knowledge.of(lookup, ground.front, ground.back)
        names = knowledge.examples(capacity.seed)
        hashing = _hashing(names, ground.circuit.residual["hash"].width, capacity.seed, architecture)
        examples = _of_codes(names, hashing, knowledge)
        if weak:
            examples = replace(examples, base=_weakly(examples, weak))
        room = min(ground.room(neurons, stage) for stage in range(1, stages))
        fitted = fit(examples, LOOKUP_BLOCKS * room, _gelu(architecture), capacity.seed)
        return Known(ground, knowledge, examples, fitted, hashing)

    known = _smallest(attempt, bare, lookup, capacity, 0.5)
    return _whole(known, [_hash_stage(known), *_lookup_stages(known)], capacity)


def _of_codes(names: Examples, hashing: Fitted, knowledge: Knowledge) -> Examples:
    """The same names by their hash codes, and neurons that serve one channel each."""

    def code(inputs: Tensor) -> Tensor:
        return hashing.hidden(inputs) @ hashing.w_out

    return replace(
        names,
        inputs=code(names.inputs),
        strangers=lambda count: code(names.strangers(count)),
        mask=lambda neurons: _owned(knowledge, neurons),
    )


def _smallest(
    attempt: Callable[[int], Known], ground: Ground, lookup: Lookup, capacity: Capacity, default: float
) -> Known:
    """What is known in blocks of the size that was asked for; where that cannot know all, a quarter more, and so on.

    Raises CompileError where a size was given and is too small, with one that does.
    """
    facts = len(lookup.entries)
    each = default if capacity.neurons_per_fact is None else capacity.neurons_per_fact
    wanted = capacity.neurons or int(each * facts / len(ground.circuit.layers))
    given = capacity.neurons is not None or capacity.neurons_per_fact is not None
    size = max(wanted, ground.least())
    known = attempt(size)
    while known.fitted.lead < ENOUGH:
        if size > 4 * facts + 64:
            raise CompileError(["no number of neurons answers this table: its names are too much alike"])
        size = int(size * GROWTH) + 1
        known = attempt(size)
    if given and size > wanted:
        share = ceil(1000 * size * len(ground.circuit.layers) / facts) / 1000
        raise CompileError(
            [
                f"{wanted} neurons in a block are too few: the smallest found that would do is {size}, "
                f"{share:g} of all blocks a fact"
            ]
        )
    return known


Reads = list[tuple[Span, np.ndarray]]
Writes = list[tuple[int, Span, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer that knows; `lost`: by how much each fact's margin falls without each neuron, END's value being ½."""

    role: Role
    reads: Reads
    bias: Tensor
    writes: Writes
    lost: Float[np.ndarray, "neuron fact"]


def _refuse(lookup: Lookup) -> None:
    words = {word for entry in lookup.entries for word in entry.name}
    reasons = [
        f"template {' '.join((*form.before, '{name}', *form.after))!r}: {word_of(form.before[-1])!r} before it is "
        "a word of a name, and a name here is the whole run of such words: word it otherwise, or use neuron-per-fact"
        for form in lookup.forms
        if form.before and word_of(form.before[-1]) in words
    ]
    if reasons:
        raise CompileError(reasons)


def _residual(front: Front, back: Back, capacity: Capacity, architecture: str, hashed: int) -> Residual:
    residual = Residual()
    front.lay(residual)
    residual.lay("no name", 1)
    residual.lay("hash", hashed)
    back.lay(residual)
    if capacity.decoys:
        residual.lay("decoy", DECOY_WIDTH)
    if architecture == "gpt2":
        residual.lay("position", 2 * FREQUENCIES)
    check_sizes(front.lookup, residual, capacity)
    if capacity.width is not None:
        residual.lay("spare", capacity.width - residual.width)
    return residual


def _stopped(head: Head, stop: int) -> Head:
    beyond = head.role is Role.PREVIOUS_NAME and head.offset > 1
    return replace(head, stopped_by=stop) if beyond else head


def _no_name(front: Front) -> np.ndarray:
    """1 for every token but BOS that is no word of a name."""
    known = set(front.names.words)
    tokens = front.lookup.vocabulary
    bits = [float(token != BOS and word_of(token) not in known) for token in tokens]
    return np.array(bits, dtype=np.float32)[:, None]


def _gelu(architecture: str) -> str:
    return "tanh" if architecture == "gpt2" else "none"


def _hashing(names: Examples, neurons: int, seed: int, architecture: str) -> Fitted:
    """Random neurons that fire on few names; each writes to a dimension of its own."""
    generator = torch.Generator().manual_seed(seed + 2)
    w_in = HASH_GAIN * torch.randn(names.inputs.shape[1], neurons, generator=generator)
    drawn = Fitted(
        w_in, torch.full((neurons,), -HASH_THRESHOLD), torch.eye(neurons), 0.0, _gelu(architecture)
    )
    length = float(drawn.hidden(names.inputs).square().sum(1).mean().sqrt())
    return replace(drawn, w_out=torch.eye(neurons) * (HASH_LENGTH / length))


def _owned(knowledge: Knowledge, neurons: int) -> Tensor:
    """Which columns each neuron may write: those of one channel, that has as large a share as it has tokens to say."""
    channels = knowledge.lookup.channels
    tokens = dict.fromkeys(channels, 0)
    for entry in knowledge.lookup.entries:
        tokens[entry.channel] += len(entry.answer)
    shares = np.cumsum(list(tokens.values())) / sum(tokens.values())
    owner = np.searchsorted(shares, (np.arange(neurons) + 0.5) / neurons)
    columns = knowledge.columns()
    found = torch.zeros(neurons, max(part.stop for part in columns.values()), dtype=torch.bool)
    for (channel, _), part in columns.items():
        found[torch.from_numpy(owner == channels.index(channel)), part] = True
    return found


def _weakly(examples: Examples, size: float) -> Tensor:
    """What the hash codes say linearly of the first tokens of answers, right ones having the mean value `size`."""
    found = ridge(examples, examples.inputs)
    kept = torch.zeros_like(found)
    for number in examples.first:
        slot = examples.slots[number]
        if slot is not None:
            kept[:, slot.columns] = found[:, slot.columns]
    values = right_values(examples, examples.inputs @ kept)[:, list(examples.first)]
    said = examples.target[:, list(examples.first)] < len(examples.codes)
    return kept * (size / float(values[said].mean()))


def _hash_stage(known: Known) -> Stage:
    ground, hashing, base = known.ground, known.hashing, known.examples.base
    assert hashing is not None
    writes: Writes = [(0, ground.circuit.residual["hash"], hashing.w_out.numpy())]
    if base is not None:
        writes += _slot_writes(ground, known.knowledge, hashing.w_out @ base)
    lost = known.knowledge.lost_inputs(known.examples, known.fitted)
    return Stage(Role.HASH, _name_reads(ground, hashing.w_in), hashing.bias, writes, lost)


def _lookup_stages(known: Known) -> Iterator[Stage]:
    """The neurons that look up, dealt to their blocks so that each has some of every channel."""
    ground, fitted = known.ground, known.fitted
    lost = known.knowledge.lost(known.examples, fitted)
    for block in range(LOOKUP_BLOCKS):
        part = slice(block, None, LOOKUP_BLOCKS)
        reads = [(ground.circuit.residual["hash"], fitted.w_in[:, part].T.numpy())]
        writes = _slot_writes(ground, known.knowledge, fitted.w_out[part])
        yield Stage(Role.LOOKUP, reads, fitted.bias[part], writes, lost[part])


def _name_reads(ground: Ground, w_in: Tensor) -> Reads:
    residual, width = ground.circuit.residual, ground.front.names.width
    parts = w_in.T.numpy()
    return [
        (residual[f"name {back}"], parts[:, back * width : (back + 1) * width])
        for back in range(ground.front.lookup.longest_name)
    ]


def _slot_writes(ground: Ground, knowledge: Knowledge, w_out: Tensor) -> Writes:
    residual = ground.circuit.residual
    return [
        (0, residual[slot_name(*key)], SLOT_SCALE * w_out[:, part].numpy())
        for key, part in knowledge.columns().items()
    ]


def _silence(ground: Ground, reads: Reads, bias: np.ndarray) -> Reads:
    """What keeps neurons from firing where no word of a name stands, whatever else is there."""
    residual = ground.circuit.residual
    largest = np.maximum(bias, 0) + REACH
    for span, pattern in reads:
        codes = ground.front.names.codes if span is not residual["hash"] else np.zeros((1, span.width))
        largest = largest + np.maximum((pattern @ codes.T).max(1), 0)
    silent = -largest[:, None].astype(np.float32)
    return [(residual["no name"], silent), (residual["bos"], silent)]


def _whole(known: Known, stages: Sequence[Stage], capacity: Capacity) -> Circuit:
    """The circuit with its neurons, their effects in nats, and logits in which every answer leads by the margin."""
    ground, knowledge, examples = known.ground, known.knowledge, known.examples
    circuit, front, back = ground.circuit, ground.front, ground.back
    scale = capacity.margin / known.fitted.lead
    y = outputs(examples, known.fitted)
    margins = knowledge.margins(examples, y)
    for at, bank in ground.asking:
        lost = np.zeros((len(bank), len(margins)), dtype=np.float32)
        for row, facts in enumerate(bank.facts):
            lost[row, list(facts)] = margins[list(facts)] + 0.5  # nothing is said, and END's value is ½
        put(replace(bank, effects=scale * lost), circuit.layers, at)
    for number, stage in enumerate(stages):
        bias = stage.bias.numpy()
        bank = Bank(
            stage.role,
            [f"{stage.role.value} {unit}" for unit in range(len(bias))],
            [*stage.reads, *_silence(ground, stage.reads, bias)],
            bias,
            stage.writes,
            [tuple(np.flatnonzero(lost >= margins).tolist()) for lost in stage.lost],
            scale * stage.lost,
        )
        put(bank, circuit.layers, ground.knowing + number)
    span, codes, circuit.end_logit = back.unembedding(circuit.residual, scale)
    circuit.unembedding = span, codes
    spelling = front.lookup.longest_name + front.phrases.longest + 9 + 2 * HASH_LENGTH**2
    said = SLOT_SCALE**2 * float(y.square().sum(1).max()) + 2 * front.lookup.longest_answer
    circuit.activity = 2 * (spelling + 2 * said)
    if capacity.decoys:
        add_decoys(circuit, capacity.decoys, capacity.seed)
    circuit.neurons = max(layer.neurons for layer in circuit.layers)
    if capacity.neurons is not None and circuit.neurons > capacity.neurons:
        raise CompileError(
            [
                f"{capacity.neurons} neurons in a block are too few: the smallest that would do is {circuit.neurons}"
            ]
        )
    circuit.neurons = capacity.neurons or circuit.neurons
    return circuit
