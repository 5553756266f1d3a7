"""Decoys: units that go with the facts and do nothing, for methods that take correlation for cause.

A decoy neuron fires on the words of a fact, as that fact's own neuron does, and writes into a subspace
that nothing reads. A decoy head attends as a planted one does and writes there as well.
"""

from dataclasses import replace

import numpy as np

from oneway.compiler.circuit import Bank, Circuit, Head, Role, place
from oneway.compiler.front import REACH
from oneway.compiler.residual import Span

WIDTH = 16
_SIZE = 0.3  # of what a decoy writes: it must not weigh in LayerNorm


def add_decoys(circuit: Circuit, count: int, seed: int) -> None:
    """For each planted unit `count` decoys: neurons in the layers of the planted ones, heads wherever there is room."""
    rng = np.random.default_rng(seed)
    span = circuit.residual["decoy"]
    planted = [list(layer.heads) for layer in circuit.layers]
    for layer in circuit.layers:
        banks = [_decoy_bank(bank, count, span, rng) for bank in layer.banks]
        layer.banks.extend(bank for bank in banks if len(bank))
    for at, heads in enumerate(planted):
        for _ in range(count):
            place([_decoy_head(head, span, rng) for head in heads], circuit.layers, at, circuit.heads)


def _decoy_bank(bank: Bank, count: int, span: Span, rng: np.random.Generator) -> Bank:
    n = len(bank)
    writes = rng.standard_normal((count * n, span.width)).astype(np.float32)
    writes *= _SIZE / REACH / np.linalg.norm(writes, axis=1, keepdims=True)
    return Bank(
        Role.DECOY,
        [f"goes with: {label}" for label in bank.labels] * count,
        [(read, np.tile(pattern, (count, 1))) for read, pattern in bank.reads],
        np.tile(bank.bias, count),
        [(0, span, writes)],
        [()] * (count * n),
    )


def _decoy_head(head: Head, span: Span, rng: np.random.Generator) -> Head:
    transport = rng.standard_normal((head.reads.width, span.width)).astype(np.float32)
    transport *= _SIZE / np.sqrt(span.width)
    return replace(head, role=Role.DECOY, label=f"goes with: {head.label}", writes=span, transport=transport)
