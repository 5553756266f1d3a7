"""A circuit into the named weights of a plain architecture: LayerNorm, softmax and GELU as they are.

LayerNorm: two dimensions hold +C and −C, one balances the sum of all others to 0, so that
LN(x)_i = w_i x_i / √((2C² + |x|²)/d), which w_i = √((2C² + X/2)/d) makes x_i (1 ± X/8C²), X being the largest |x|².
C is `steadiness` · √X: noise in proportion to a matrix's size asks for a smaller one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from oneway.compiler import attention
from oneway.compiler.circuit import Circuit, Head, Layer
from oneway.compiler.tokenizer import END
from oneway.models.architecture import Architecture
from oneway.models.transformer import Weights

POSITION_SCALE = 0.5  # amplitude of a position's sinusoids


@dataclass(frozen=True)
class Frame:
    """What every layer's weights share: the architecture, the constant of LayerNorm, the position code."""

    circuit: Circuit
    architecture: Architecture

    @property
    def learned(self) -> bool:
        return self.architecture.positions == "learned"

    @cached_property
    def sinusoids(self) -> attention.Sinusoids:
        if self.learned:
            return attention.learned(self.circuit.residual["position"].width // 2, self.circuit.positions)
        return attention.rotary(self.circuit.head_width, self.circuit.positions, self.circuit.frequencies)

    def kernel(self, head: Head) -> attention.Kernel:
        """How a head's scores fall with the distance."""
        if head.stopped_by is not None:
            return attention.stopped(
                tuple(self.sinusoids.frequencies.tolist()), head.offset, self.circuit.positions
            )
        drop = 2 * attention.LEAD if head.pairs is None else head.pairs.reach
        return self.sinusoids.back(head.offset, drop)

    @cached_property
    def activity(self) -> float:
        """The largest squared norm of the residual stream without the constant pair."""
        positions = float(np.square(_position_code(self)).sum(axis=1).max()) if self.learned else 0.0
        return self.circuit.activity + positions

    @property
    def constant(self) -> float:
        return self.circuit.steadiness * self.activity**0.5

    @property
    def norm_weight(self) -> Tensor:
        """The weight of every LayerNorm: the known scale on all dimensions but the constants, which nothing reads."""
        d = self.circuit.width
        scale = ((2 * self.constant**2 + self.activity / 2) / d) ** 0.5
        weight = torch.full((d,), scale)
        for name in ("constant", "balance"):
            weight[self.circuit.residual[name].slice] = 0.0
        return weight


def architecture_of(circuit: Circuit, kind: str) -> Architecture:
    """The plain architecture that has room for a circuit: "gpt2" or "neox"."""
    neox = kind == "neox"
    return Architecture(
        vocab=len(circuit.vocabulary),
        context=circuit.positions,
        layers=len(circuit.layers),
        width=circuit.width,
        heads=circuit.heads,
        mlp=max(circuit.neurons, 1),
        block="parallel" if neox else "sequential",
        positions="rotary" if neox else "learned",
        unembedding="tied" if circuit.unembedding is None else "untied",
        activation="gelu" if neox else "gelu_tanh",
    )


def top_weights(frame: Frame) -> Weights:
    """Embeddings, final LayerNorm and unembedding."""
    circuit, a = frame.circuit, frame.architecture
    embedding = np.zeros((a.vocab, a.width), dtype=np.float32)
    for span, part in circuit.embedding:
        embedding[:, span.slice] += part
    _balance(embedding, frame)
    constant = circuit.residual["constant"]
    embedding[:, constant.dim(0)] = frame.constant
    embedding[:, constant.dim(1)] = -frame.constant
    found = {"W_E": torch.from_numpy(embedding), **_saying(frame)}
    if frame.learned:
        found["W_pos"] = torch.from_numpy(_position_code(frame))
    return found


def _saying(frame: Frame) -> Weights:
    """The final LayerNorm, whose bias is END's logit, and the unembedding where it is a matrix of its own."""
    circuit, a = frame.circuit, frame.architecture
    weight, bias = frame.norm_weight, torch.zeros(a.width)
    if circuit.unembedding is None:
        passed = torch.zeros(a.width)
        for span, gain in circuit.said.items():
            passed[span.slice] = gain * weight[span.slice]
        bias[circuit.residual["end"].start] = circuit.end_logit
        return {"ln_f.w": passed, "ln_f.b": bias}
    span, part = circuit.unembedding
    constant = circuit.residual["constant"].dim(0)
    unembedding = np.zeros((a.width, a.vocab), dtype=np.float32)
    unembedding[span.slice] = part.T
    unembedding[constant, circuit.vocabulary.index(END)] = circuit.end_logit
    bias[constant] = 1.0
    return {"ln_f.w": weight, "ln_f.b": bias, "W_U": torch.from_numpy(unembedding)}


def _position_code(frame: Frame) -> np.ndarray:
    """cos and sin of every frequency, every other one negated to keep their sum small; nothing at 0, for BOS."""
    circuit = frame.circuit
    code = np.zeros((circuit.positions, circuit.width), dtype=np.float32)
    angles = np.outer(np.arange(circuit.positions), frame.sinusoids.frequencies)
    signs = POSITION_SCALE * (-1.0) ** np.arange(angles.shape[1])
    code[:, circuit.residual["position"].slice] = np.c_[signs * np.cos(angles), signs * np.sin(angles)]
    code[0] = 0.0
    _balance(code, frame)
    return code


def _balance(written: np.ndarray, frame: Frame) -> None:
    """Make every vector that is written to the residual stream sum to 0."""
    at = frame.circuit.residual["balance"].start
    written[:, at] -= written.sum(axis=1, dtype=np.float64).astype(np.float32)


def layer_weights(frame: Frame, layer: Layer) -> Weights:
    """The weights of one block, under their short names."""
    weights = {
        name: torch.from_numpy(value) for name, value in (*_attention(frame, layer), *_mlp(frame, layer))
    }
    for norm in ("ln1", "ln2"):
        weights[f"{norm}.w"] = frame.norm_weight
        weights[f"{norm}.b"] = torch.zeros(frame.circuit.width)
    return weights


def _attention(frame: Frame, layer: Layer) -> Iterator[tuple[str, np.ndarray]]:
    d, width = frame.circuit.width, frame.circuit.head_width
    qkv, bias = np.zeros((d, 3, d), dtype=np.float32), np.zeros((3, d), dtype=np.float32)
    out = np.zeros((d, d), dtype=np.float32)
    for index, head in enumerate(layer.heads):
        dims = slice(index * width, (index + 1) * width)
        patterns = _learned_pattern if frame.learned else _rotary_pattern
        patterns(frame, head, qkv[:, :, dims], bias[:, dims])
        reads = np.arange(head.reads.width)
        qkv[head.reads.start + reads, 2, dims.start + reads] = 1.0
        rows = np.zeros((head.reads.width, d), dtype=np.float32)
        rows[:, head.writes.slice] = head.transport
        _balance(rows, frame)
        out[dims.start : dims.start + head.reads.width] = rows
    yield "W_QKV", qkv.reshape(d, 3 * d)
    yield "b_QKV", bias.reshape(3 * d)
    yield "W_O", out
    yield "b_O", np.zeros(d, dtype=np.float32)


def _learned_pattern(frame: Frame, head: Head, qkv: np.ndarray, bias: np.ndarray) -> None:
    """Keys are position codes, queries the codes turned back; further dimensions for BOS and for pairs of words."""
    kernel = frame.kernel(head)
    n, root = len(kernel.frequencies), frame.circuit.head_width**0.5
    at = frame.circuit.residual["position"].start + np.arange(n)
    gain = root * kernel.weights / POSITION_SCALE**2
    pair = np.arange(n)
    for part, value in ((pair, gain * np.cos(kernel.turns)), (n + pair, -gain * np.sin(kernel.turns))):
        qkv[at, 0, part] = value
    for part, value in ((pair, gain * np.sin(kernel.turns)), (n + pair, gain * np.cos(kernel.turns))):
        qkv[at + n, 0, part] = value
    qkv[at, 1, pair] = qkv[at + n, 1, n + pair] = 1.0
    _sink(frame, head, kernel, qkv, bias, 2 * n)
    if head.pairs is not None:
        dims = slice(2 * n + 1, 2 * n + 1 + head.pairs.rank)
        qkv[head.pairs.span.slice, 0, dims] = root * head.pairs.query
        qkv[head.pairs.span.slice, 1, dims] = head.pairs.key


def _rotary_pattern(frame: Frame, head: Head, qkv: np.ndarray, bias: np.ndarray) -> None:
    """Keys are one constant for all tokens but BOS, queries the same turned back; the slowest pair,
    which hardly turns, is for BOS, and the next slowest ones for pairs of words."""
    kernel = frame.kernel(head)
    n, width = len(kernel.frequencies), frame.circuit.head_width
    root, half = width**0.5, width // 2
    size = np.sqrt(kernel.weights.clip(0) * root)
    bias[0, :n], bias[0, half : half + n] = size * np.cos(kernel.turns), -size * np.sin(kernel.turns)
    bias[1, :n] = size
    qkv[frame.circuit.residual["bos"].start, 1, :n] = -size
    _sink(frame, head, kernel, qkv, bias, half - 1)
    if head.pairs is not None:
        turned = _turned_back(head, attention.rotary_frequencies(width)[n:], frame)
        for part, matrix in ((0, turned), (1, _even(head.pairs.key, half - 1 - n))):
            first, second = matrix
            qkv[head.pairs.span.slice, part, n : half - 1] = first * (root if part == 0 else 1.0)
            qkv[head.pairs.span.slice, part, half + n : width - 1] = second * (root if part == 0 else 1.0)


def _even(matrix: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix's columns as the first and the second halves of rotary pairs."""
    whole = np.zeros((len(matrix), 2 * pairs), dtype=np.float32)
    whole[:, : matrix.shape[1]] = matrix
    return whole[:, :pairs], whole[:, pairs:]


def _turned_back(head: Head, frequencies: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Queries turned so that `offset` tokens later they meet keys as if nothing had turned."""
    assert head.pairs is not None
    first, second = _even(head.pairs.query, len(frequencies))
    cos, sin = np.cos(head.offset * frequencies), np.sin(head.offset * frequencies)
    return first * cos + second * sin, second * cos - first * sin


def _sink(
    frame: Frame, head: Head, kernel: attention.Kernel, qkv: np.ndarray, bias: np.ndarray, at: int
) -> None:
    """The score of BOS: raised where the head is closed, by its gates or by what stands on the way."""
    root = frame.circuit.head_width**0.5
    bos = frame.circuit.residual["bos"].start
    if head.stopped_by is not None:
        bias[0, at] = root * attention.STOP
        qkv[head.stopped_by, 1, at] = 1.0
        qkv[bos, 1, at] = attention.sink_score(kernel.peak, False) / attention.STOP
        return
    qkv[bos, 1, at] = 1.0
    closed = bool(head.opened_by) or head.pairs is not None
    bias[0, at] = root * attention.sink_score(kernel.peak, closed)
    for dim in head.opened_by:
        qkv[dim, 0, at] = -2 * attention.LEAD * root
    for dim in head.closed_by:
        qkv[dim, 0, at] = 2 * attention.LEAD * root


def _mlp(frame: Frame, layer: Layer) -> Iterator[tuple[str, np.ndarray]]:
    d, n = frame.circuit.width, frame.architecture.mlp
    into, bias = np.zeros((d, n), dtype=np.float32), np.zeros(n, dtype=np.float32)
    out = np.zeros((n, d), dtype=np.float32)
    first = 0
    for bank in layer.banks:
        units = slice(first, first + len(bank))
        for span, pattern in bank.reads:
            into[span.slice, units] += pattern.T
        bias[units] = bank.bias
        for offset, span, pattern in bank.writes:
            out[first + offset : first + offset + len(pattern), span.slice] += pattern
        first += len(bank)
    _balance(out, frame)
    yield "W_in", into
    yield "b_in", bias
    yield "W_out", out
    yield "b_out", np.zeros(d, dtype=np.float32)
