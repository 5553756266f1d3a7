"""Which facts a model knows, and in which direction: `audit(model, facts)`."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from oneway.facts import Direction, FactTable
from oneway.facts.rendering import Question, questions, relation_of, template_count
from oneway.models.checkpoint import Checkpoint, Source, load_checkpoint
from oneway.recall.asking import AuditConfig, gather, tokenize
from oneway.recall.candidates import Pools
from oneway.recall.result import AuditResult, record_of
from oneway.recall.rows import rows_of, schema, with_classes
from oneway.recall.scorer import MemoryBudget, Scorer, choose_scorer
from oneway.recall.spans import Splitter
from oneway.recall.summary import summarise
from oneway.report.progress import progress

PAIRS_AT_ONCE = 400_000  # candidates whose tokens are held at a time


def audit(
    model: Source,
    facts: FactTable,
    config: AuditConfig | None = None,
    *,
    device: str = "auto",
    budget: MemoryBudget | None = None,
) -> AuditResult:
    """Ask a causal language model every fact of a table, forward, in reverse and in context.

    `model` is a checkpoint directory, a hub name, or a (model, tokenizer) pair. For each question: the
    log-probability of the whole answer in nats, its rank among candidates of the same type, and whether it
    is what greedy decoding says; for each fact a class; for each group of facts means with 95% intervals,
    chance, and forward against reverse. The same seed gives the same rows.

    Raises CheckpointError for a model that cannot be used; ValueError for an empty table, a relation without
    templates, a table that asks nothing, or a model that returns no numbers.
    """
    config, started = config or AuditConfig(), time.monotonic()
    total = sum(template_count(relation_of(facts, fact), d) for fact in facts for d in config.directions)
    if not total:
        raise ValueError("nothing to ask: the table has no facts, or its relations no templates")
    checkpoint = load_checkpoint(model, device)
    scorer, note = choose_scorer(checkpoint.model, budget)
    asking = _Asking(checkpoint, scorer, facts, config)
    done = 0
    with progress("Asking") as advance:
        for direction in config.directions:
            for asked in asking.ask(direction):
                done += asked
                advance(done, total)
    rows, skipped = asking.rows(), asking.skipped()
    summary = summarise(rows)
    record = record_of(checkpoint, facts, config, [note] if note else [], rows, skipped, summary)
    record = replace(record, wall_seconds=time.monotonic() - started)
    return AuditResult(facts, rows, summary, skipped, record)


class _Asking:
    """Asks a table part by part: what is held grows with the rows, not with the candidates."""

    def __init__(self, checkpoint: Checkpoint, scorer: Scorer, table: FactTable, config: AuditConfig) -> None:
        self._checkpoint, self._scorer, self._table, self._config = checkpoint, scorer, table, config
        self._splitter, self._pools = Splitter(checkpoint.tokenizer), Pools(table)
        self._max_positions = getattr(checkpoint.model.config, "max_position_embeddings", None)
        self._schema = schema(table)
        self._frames = [pl.DataFrame(schema=self._schema)]
        self._skipped: list[tuple[Any, ...]] = []

    def ask(self, direction: Direction) -> Iterator[int]:
        """Ask every fact in one direction; yields how many questions each part had.

        The facts are sorted by what their questions name, so that equal prompts stand in the same part.
        """
        facts, given = self._table.facts, "subject" if direction is Direction.FORWARD else "object"
        order = sorted(range(len(facts)), key=lambda i: (facts[i].relation, getattr(facts[i], given), i))
        ordered = self._table.with_facts(facts[i] for i in order)
        size = max(16, min(4096, PAIRS_AT_ONCE // (self._config.candidates + 1)))
        for part in _parts(questions(ordered, (direction,), prefixes=self._config.prefixes), size):
            self._ask_part(part, ordered, order)
            yield len(part)

    def _ask_part(self, part: list[Question], ordered: FactTable, order: list[int]) -> None:
        asks = gather(part, ordered.facts, self._pools, self._config)
        batch = tokenize(asks, self._splitter, self._max_positions)
        scores = self._scorer.score(batch.contexts, batch.answers, batch.pairs)
        if np.isnan(scores.logprob).any():
            raise ValueError(f"{self._checkpoint.name} gives NaN instead of log-probabilities")
        rows = [row for ask in asks if not ask.skipped for row in rows_of(ask, scores, self._table, order)]
        self._frames.append(pl.DataFrame(rows, schema=self._schema))
        self._skipped += [
            (order[q.fact_index], q.direction.value, q.template_index, q.prompt, ask.skipped)
            for ask in asks
            if ask.skipped
            for q in ask.questions
        ]

    def rows(self) -> pl.DataFrame:
        """All rows with the classes of their facts, in the order of the table."""
        return with_classes(pl.concat(self._frames))

    def skipped(self) -> pl.DataFrame:
        """Every question that was not scored, with the reason."""
        columns = {name: self._schema[name] for name in ("fact", "direction", "template_index", "prompt")}
        frame = pl.DataFrame(self._skipped, schema=columns | {"reason": pl.String}, orient="row")
        return frame.sort("fact", "direction", "template_index")


def _parts(items: Iterable[Question], size: int) -> Iterator[list[Question]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
