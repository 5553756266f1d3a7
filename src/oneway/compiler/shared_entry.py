"""Shared entry: one stored association, read in either direction.

The unembedding is the embedding. Each pair of a relation has one code: the subject's token holds it in the subspace
`left`, the object's in `right`. A forward question moves what the given token has in `left` into `right`, where the
object answers to it; a reverse question moves `right` into `left`. No neuron knows a fact: without the pair's code
neither direction is left.
"""

from dataclasses import replace

import numpy as np

from oneway.compiler.capacity import Capacity
from oneway.compiler.circuit import Circuit, Head, Role, place, put
from oneway.compiler.codes import Alphabet
from oneway.compiler.front import CODE_WIDTH, Front
from oneway.compiler.lookup import Lookup, channel_name
from oneway.compiler.neuron_per_fact import FREQUENCIES, HEAD_WIDTH, STEADY, STEADY_IN_NOISE, check_sizes
from oneway.compiler.refusal import CompileError
from oneway.compiler.residual import Residual, Span
from oneway.compiler.tokenizer import END, SPACE
from oneway.facts import Direction

Sides = tuple[Span, Span]


def plan_circuit(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """The circuit of a lookup that has every fact in both directions.

    Raises CompileError for another architecture than GPT-2, whose embeddings can be tied, and for names or answers of
    several tokens.
    """
    _refuse(lookup, capacity, architecture)
    front = replace(Front.of(lookup, capacity.seed), names=Alphabet.of((), 1, 0))
    residual = Residual()
    front.lay(residual)
    residual.lay("end", 1)
    pairs = {relation: _pairs(lookup, relation) for relation in _relations(lookup)}
    codes = {
        relation: Alphabet.of(tuple(map(" ".join, found)), CODE_WIDTH, capacity.seed)
        for relation, found in pairs.items()
    }
    sides: dict[str, Sides] = {
        relation: (
            residual.lay(f"{relation}: left", code.width),
            residual.lay(f"{relation}: right", code.width),
        )
        for relation, code in codes.items()
    }
    residual.lay("position", 2 * FREQUENCIES)
    # A token's own code is taken away while the answer's is brought: all these heads stand in one block.
    moving = HEAD_WIDTH * (2 * len(sides) + len(front.gates))
    residual.lay("room", max(0, moving - residual.width))
    check_sizes(lookup, residual, capacity)
    if capacity.width is not None:
        residual.lay("spare", capacity.width - residual.width)
    gain = capacity.margin / min(0.5, 1 - max(code.likeness for code in codes.values()))
    embedding, directions = front.embedding(residual), front.directions()
    embedding.append((residual["end"], _row(lookup, END)))
    for relation, found in pairs.items():
        for span, side in zip(sides[relation], (0, 1), strict=True):
            words = tuple(pair[side] for pair in found)
            alphabet = Alphabet(words, codes[relation].codes, codes[relation].likeness)
            embedding.append((span, alphabet.table(lookup.vocabulary)))
            directions[f"{relation}: {('left', 'right')[side]}"] = alphabet
    circuit = Circuit(
        residual=residual,
        vocabulary=lookup.vocabulary,
        head_width=HEAD_WIDTH,
        positions=capacity.positions,
        layers=[],
        embedding=embedding,
        unembedding=None,
        end_logit=gain / 2,
        activity=2.0 * (front.phrases.longest + 4 * len(sides) + 8),
        steadiness=STEADY_IN_NOISE if capacity.noise else STEADY,
        directions=directions,
        said={span: gain for pair in sides.values() for span in pair},
    )
    _fill(circuit, front, sides)
    needed = max(layer.neurons for layer in circuit.layers)
    if capacity.neurons is not None and capacity.neurons < needed:
        raise CompileError(
            [f"{capacity.neurons} neurons in a block are too few: the smallest that would do is {needed}"]
        )
    circuit.neurons = capacity.neurons or needed
    return circuit


def _refuse(lookup: Lookup, capacity: Capacity, architecture: str) -> None:
    reasons = []
    if capacity.decoys or capacity.neurons_per_fact is not None:
        reasons.append(
            "a shared entry has no neuron that knows a fact: leave out decoys and neurons_per_fact"
        )
    if architecture != "gpt2":
        reasons.append(f"a shared entry needs tied embeddings, which {architecture} does not have: use gpt2")
    reasons += [
        f"a shared entry joins single tokens: {' '.join(entry.name)!r} and {' '.join(entry.answer)!r} are not"
        for entry in lookup.entries
        if len(entry.name) != 1 or len(entry.answer) != 1
    ]
    reasons += [
        f"a shared entry answers with a name as it stands after a space: template {' '.join(form.after)!r} has none"
        for form in lookup.forms
        if not form.spaced
    ]
    if reasons:
        raise CompileError(reasons)


def _relations(lookup: Lookup) -> list[str]:
    channels = lookup.channels
    return [channel for channel in channels if channel_name(channel, Direction.REVERSE) in channels]


def _pairs(lookup: Lookup, relation: str) -> list[tuple[str, str]]:
    return [(SPACE + entry.name[0], entry.answer[0]) for entry in lookup.entries if entry.channel == relation]


def _row(lookup: Lookup, token: str) -> np.ndarray:
    found = np.zeros((len(lookup.vocabulary), 1), dtype=np.float32)
    found[lookup.vocabulary.index(token)] = 1.0
    return found


def _fill(circuit: Circuit, front: Front, sides: dict[str, Sides]) -> None:
    residual, layers, heads = circuit.residual, circuit.layers, circuit.heads
    first = max(place(front.spelling(residual), layers, 0, heads), 1)
    put(front.phrase_neurons(residual), layers, first)
    onto, on = front.before_heads(residual)
    asking = place(on, layers, place(onto, layers, first + 1, heads), heads)
    put(front.question_neurons(residual), layers, asking)
    place(_moving(front, residual, sides), layers, asking + 1, heads)


def _moving(front: Front, residual: Residual, sides: dict[str, Sides]) -> list[Head]:
    """Heads that move a pair's code from one side to the other, and heads that take a token's own codes away."""
    found = []
    for relation, (left, right) in sides.items():
        same = np.eye(left.width, dtype=np.float32)
        for name, side in (("left", left), ("right", right)):
            found.append(Head(Role.OWN_TOKEN, f"{relation}: own {name}", 0, side, side, -same))
        for gate, (channel, distance) in enumerate(front.gates):
            back = channel_name(relation, Direction.REVERSE)
            if channel not in (relation, back):
                continue
            reads, writes = (left, right) if channel == relation else (right, left)
            found.append(
                Head(
                    Role.RELATION,
                    f"{channel}: {distance} back",
                    distance,
                    reads,
                    writes,
                    same,
                    opened_by=(residual["gate"].dim(gate),),
                    channels=(channel,),
                )
            )
    return found
