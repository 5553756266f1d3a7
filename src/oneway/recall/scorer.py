"""The seam between what an audit asks and how a model answers: token ids in, log-probabilities out.

A scorer knows nothing of facts. It is given contexts, answers, and which answer is asked after which context;
whatever computes the same numbers faster may take its place.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from transformers import PreTrainedModel

from oneway.engine import Engine
from oneway.engine.following import Following, Scored
from oneway.engine.opening import reader_of
from oneway.engine.own_code import CacheError, OwnCode
from oneway.engine.prefix import Prefix, Reader

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """For each pair: log P(answer | context) in nats, and whether every answer token is the argmax."""

    logprob: np.ndarray  # float64 [pair]
    greedy: np.ndarray  # bool [pair]


@runtime_checkable
class Scorer(Protocol):
    """Gives log P(answer | context) = Σ_t log softmax(logits(context, answer_<t))[answer_t].

    The softmax is over the model's whole vocabulary.
    """

    def score(self, contexts: Sequence[Tokens], answers: Sequence[Tokens], pairs: np.ndarray) -> Scores:
        """Score answers after contexts.

        `pairs` is an integer array [pair, 2] of (index into contexts, index into answers). Contexts and
        answers may repeat. Raises ValueError for an empty context or answer, or a token the model lacks.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What a scorer may hold at once besides the weights: bytes of logits, and of keys and values.

    The defaults keep a processor's caches warm; larger batches gain nothing there.
    """

    logits: int = 1 << 25
    cache: int = 1 << 26
    context_tokens: int = 2048  # tokens of one forward pass over contexts

    @classmethod
    def for_device(cls, device: torch.device) -> "MemoryBudget":
        """The defaults on a CPU; enough to fill a GPU's units elsewhere."""
        return cls() if device.type == "cpu" else cls(logits=1 << 30, cache=1 << 31, context_tokens=1 << 15)


class CacheScorer:
    """Scores with what a reader keeps of texts; nothing that two answers share is computed twice.

    Contexts of exactly equal length make a batch, so there is neither padding nor a mask, and the result is
    that of one plain forward pass for any causal model. A batch's longest common prefix runs once. The
    answers after a context form a trie that is walked level by level: one token for each distinct (context,
    answer prefix) that goes on, from a selection of what is kept of its parents. Where a level would exceed the
    budget it is cut, and each part is walked to its leaves before the next.
    """

    def __init__(self, reader: Reader, budget: MemoryBudget | None = None) -> None:
        self._reader = reader
        self._budget = budget or MemoryBudget.for_device(reader.device)

    def score(self, contexts: Sequence[Tokens], answers: Sequence[Tokens], pairs: np.ndarray) -> Scores:
        """See `Scorer.score`."""
        work = _Work.of(contexts, answers, pairs, self._reader.vocab)
        with torch.inference_mode():
            for batch in self._batches(work):
                self._score_batch(work, batch)
                return_freed_memory()
        return work.scores()

    def _batches(self, work: "_Work") -> Iterator[range]:
        """Runs of contexts of one length, in lexicographic order so that neighbours share a prefix."""
        start = 0
        while start < len(work.contexts):
            length = len(work.contexts[start])
            rows = min(
                self._budget.context_tokens // length,
                self._budget.cache // (self._reader.bytes_per_token * length),
                self._rows_of_logits,
            )
            stop = start + 1
            while stop < len(work.contexts) and stop - start < rows and len(work.contexts[stop]) == length:
                stop += 1
            yield range(start, stop)
            start = stop

    @property
    def _rows_of_logits(self) -> int:
        return max(1, self._budget.logits // (4 * self._reader.vocab))

    def _score_batch(self, work: "_Work", batch: range) -> None:
        contexts = work.contexts[batch.start : batch.stop]
        shared = min(_common_prefix(contexts[0], contexts[-1]), len(contexts[0]) - 1)
        prefix = None
        if shared and len(contexts) > 1:
            _, prefix = self._reader.read_on(torch.tensor([contexts[0][:shared]]))
            prefix = prefix.rows(torch.zeros(len(contexts), dtype=torch.int64))
            contexts = [context[shared:] for context in contexts]
        following, prefix = self._reader.read_on(torch.tensor(contexts), prefix)
        pairs = work.pairs_of(batch)
        rows = work.context_of[pairs] - batch.start
        work.read(following, rows, pairs, depth=0)
        del following
        self._walk(work, _Level(prefix, rows, pairs, depth=1))

    def _walk(self, work: "_Work", root: "_Level") -> None:
        """Score the tokens behind the first, depth first; a prefix is let go when its last child has run."""
        waiting = self._parts(work, root)
        del root
        while waiting:
            part = waiting.pop()
            parents = part.parent.rows(torch.from_numpy(part.rows))
            following, prefix = self._reader.read_on(torch.from_numpy(part.tokens)[:, None], parents)
            work.read(following, part.row_of, part.pairs, part.depth)
            level = _Level(prefix, part.row_of, part.pairs, part.depth + 1)
            del following, part, parents, prefix
            waiting += self._parts(work, level)
            del level

    def _parts(self, work: "_Work", level: "_Level") -> list["_Part"]:
        """The distinct (row, next token) of the answers that go on, in parts that the budget allows."""
        longer = work.lengths[work.answer_of[level.pairs]] > level.depth
        if not longer.any():
            return []
        pairs, vocab = level.pairs[longer], self._reader.vocab
        tokens = work.tokens[work.answer_of[pairs], level.depth - 1]
        nodes, node_of = np.unique(level.rows[longer] * vocab + tokens, return_inverse=True)
        order = np.argsort(node_of, kind="stable")
        pairs, node_of = pairs[order], node_of[order]
        parents, tokens = np.divmod(nodes, vocab)
        row_bytes = self._reader.bytes_per_token * (level.prefix.length + 1)
        limit = max(1, min(self._rows_of_logits, self._budget.cache // row_bytes))
        parts = []
        for part in np.array_split(np.arange(len(nodes)), -(-len(nodes) // limit)):
            inside = slice(*np.searchsorted(node_of, (part[0], part[-1] + 1)))
            row_of = node_of[inside] - part[0]
            parts.append(_Part(level.prefix, parents[part], tokens[part], row_of, pairs[inside], level.depth))
        return parts


@dataclass(frozen=True, slots=True)
class _Level:
    """A prefix, and the pairs whose answers it holds up to, not including, token `depth` − 1."""

    prefix: Prefix
    rows: np.ndarray  # int64 [pair]: row of the prefix
    pairs: np.ndarray  # int64 [pair]
    depth: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One forward pass to be made: `tokens` after rows of the parent prefix, to read token `depth` of the pairs."""

    parent: Prefix
    rows: np.ndarray  # int64 [row]: row of the parent
    tokens: np.ndarray  # int64 [row]
    row_of: np.ndarray  # int64 [pair]
    pairs: np.ndarray  # int64 [pair]
    depth: int


class PlainScorer:
    """Scores with plain forward passes of whole texts, batched by exact length; needs no cache."""

    def __init__(self, model: PreTrainedModel, budget: MemoryBudget | None = None) -> None:
        self._model = OwnCode(model)
        self._budget = budget or MemoryBudget.for_device(model.device)

    def score(self, contexts: Sequence[Tokens], answers: Sequence[Tokens], pairs: np.ndarray) -> Scores:
        """See `Scorer.score`."""
        work = _Work.of(contexts, answers, pairs, self._model.vocab)
        context_lengths = np.array([len(context) for context in work.contexts])[work.context_of]
        answer_lengths = work.lengths[work.answer_of]
        shapes = np.stack([context_lengths, answer_lengths], axis=1)
        for context_length, answer_length in np.unique(shapes, axis=0):
            alike = np.flatnonzero((shapes == (context_length, answer_length)).all(axis=1))
            length = context_length + answer_length - 1
            limit = max(1, self._budget.logits // (4 * self._model.vocab * int(length)))
            for part in np.array_split(alike, -(-len(alike) // limit)):
                self._score_alike(work, part, int(answer_length))
        return work.scores()

    def _score_alike(self, work: "_Work", pairs: np.ndarray, answer_length: int) -> None:
        texts = [
            (*work.contexts[work.context_of[pair]], *work.tokens[work.answer_of[pair], : answer_length - 1])
            for pair in pairs
        ]
        logits = self._model.plain(torch.tensor(np.array(texts)), keep=answer_length)
        for depth in range(answer_length):
            work.read(Scored(logits[:, depth - answer_length]), np.arange(len(pairs)), pairs, depth)


def choose_scorer(model: PreTrainedModel, budget: MemoryBudget | None = None) -> tuple[Scorer, str]:
    """The fastest scorer that proves itself on this model, and why where it is not `CacheScorer` on the engine.

    A few made-up sequences are scored by plain forward passes too. Where the engine does not know the family, or its
    scores differ by more than rounding, the model is read by its own code with its own cache; where that cache is of
    an unknown kind, or its scores differ, by plain forward passes. Rounding is what passes of other shapes may differ
    by: max(1e-3, 4 · ε · max |log P|) nats, where ε is the relative spacing of the model's numbers (2⁻⁷ in bfloat16,
    2⁻¹⁰ in float16, 2⁻²³ in float32) and log P are the plain scores.
    """
    plain, made_up = PlainScorer(model, budget), _made_up(model)
    expected = plain.score(*made_up).logprob
    rounding = max(1e-3, 4 * torch.finfo(model.dtype).eps * float(np.abs(expected).max()))

    def difference(scorer: CacheScorer) -> float:
        return float(np.abs(scorer.score(*made_up).logprob - expected).max())

    reader, reason = reader_of(model)
    if isinstance(reader, Engine):
        scorer = CacheScorer(reader, budget)
        if (off := difference(scorer)) <= rounding:
            return scorer, ""
        reason = f"in the engine this model's scores differ by {off:.2g} nats"
    try:
        scorer = CacheScorer(OwnCode(model), budget)
        if (off := difference(scorer)) <= rounding:
            return scorer, f"read by the model's own code: {reason}"
    except CacheError as error:
        return plain, f"plain forward passes: {error}"
    return plain, f"plain forward passes: with its own cache this model's scores differ by {off:.2g} nats"


def _made_up(model: PreTrainedModel) -> tuple[list[Tokens], list[Tokens], np.ndarray]:
    """Contexts, two of which share a beginning, answers that share theirs, and all pairs of them."""
    vocab = OwnCode(model).vocab
    limit = getattr(model.config, "max_position_embeddings", None) or 64
    rng = np.random.default_rng(0)
    length = max(1, min(24, limit - 3))
    contexts = [tuple(rng.integers(vocab, size=length).tolist()) for _ in range(3)]
    contexts[1] = contexts[0][:-1] + contexts[1][-1:]
    answers = [tuple(rng.integers(vocab, size=size).tolist()) for size in (1, 2, 3)]
    answers.append(answers[2][:2] + answers[1][:1])
    return contexts, answers, np.array([(c, a) for c in range(len(contexts)) for a in range(len(answers))])


@dataclass
class _Work:
    """The distinct contexts, answers and pairs of one call, and the scores as they come in."""

    contexts: list[Tokens]  # by length, then lexicographic
    tokens: np.ndarray  # int64 [answer, pos], -1 after the end
    lengths: np.ndarray  # int64 [answer]
    context_of: np.ndarray  # int64 [pair], ascending
    answer_of: np.ndarray  # int64 [pair]
    asked: np.ndarray  # distinct pair of each pair asked
    logprob: np.ndarray
    greedy: np.ndarray

    @classmethod
    def of(
        cls, contexts: Sequence[Tokens], answers: Sequence[Tokens], pairs: np.ndarray, vocab: int
    ) -> "_Work":
        pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        distinct, context_of = _distinct(contexts, pairs[:, 0], "context")
        distinct_answers, answer_of = _distinct(answers, pairs[:, 1], "answer")
        largest = max((max(tokens) for tokens in distinct + distinct_answers), default=0)
        if largest >= vocab:
            raise ValueError(
                f"token {largest} is outside the model's vocabulary of {vocab}: "
                "the tokenizer is not this model's"
            )
        lengths = np.array([len(answer) for answer in distinct_answers], dtype=np.int64)
        tokens = np.full((len(distinct_answers), int(lengths.max(initial=1))), -1, dtype=np.int64)
        for row, answer in zip(tokens, distinct_answers, strict=True):
            row[: len(answer)] = answer
        width = max(1, len(distinct_answers))
        keys, asked = np.unique(context_of * width + answer_of, return_inverse=True)
        context_of, answer_of = np.divmod(keys, width)
        return cls(
            contexts=distinct,
            tokens=tokens,
            lengths=lengths,
            context_of=context_of,
            answer_of=answer_of,
            asked=asked,
            logprob=np.zeros(len(keys)),
            greedy=np.ones(len(keys), dtype=bool),
        )

    def pairs_of(self, batch: range) -> np.ndarray:
        """The pairs whose contexts stand in a run of contexts."""
        return np.arange(*np.searchsorted(self.context_of, (batch.start, batch.stop)))

    def read(self, following: Following, rows: np.ndarray, pairs: np.ndarray, depth: int) -> None:
        """Add log P(token) for the `depth`-th token of each pair that is asked in a row.

        `rows[i]` is the row of `pairs[i]`. Every pair given has a `depth`-th token.
        """
        tokens = torch.from_numpy(self.tokens[self.answer_of[pairs], depth])
        logprob, greedy = following.log_probabilities(torch.from_numpy(rows), tokens)
        self.greedy[pairs] &= greedy.cpu().numpy()
        self.logprob[pairs] += logprob.cpu().numpy()

    def scores(self) -> Scores:
        return Scores(self.logprob[self.asked], self.greedy[self.asked])


def _distinct(items: Sequence[Tokens], asked: np.ndarray, what: str) -> tuple[list[Tokens], np.ndarray]:
    """The distinct items that are asked for, by length, then lexicographic; and the place among them of each ask."""
    used, use = np.unique(asked, return_inverse=True)
    distinct = sorted({items[i] for i in used}, key=lambda tokens: (len(tokens), tokens))
    if distinct and not distinct[0]:
        raise ValueError(f"an empty {what} cannot be scored")
    place = {tokens: i for i, tokens in enumerate(distinct)}
    return distinct, np.array([place[items[i]] for i in used], dtype=np.int64)[use]


def _common_prefix(a: Tokens, b: Tokens) -> int:
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(a, b, strict=True)))


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    Tensors of ever other sizes leave holes in its heap: without this, several times what is held stays resident.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
