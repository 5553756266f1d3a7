"""Which facts a model knows, and in which direction: `audit(model, facts)`."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from oneway.evidence.record import RESUMED, code_version, fingerprint
from oneway.facts import Direction, FactTable
from oneway.facts.rendering import Question, questions, relation_of, template_count
from oneway.models.checkpoint import Checkpoint, Loading, Source, load_checkpoint
from oneway.recall.alike import Alike
from oneway.recall.asking import AuditConfig, gather, tokenize
from oneway.recall.candidates import Pools
from oneway.recall.chat import Chat
from oneway.recall.parts import Parts
from oneway.recall.result import OF_SKIPPED, AuditResult, record_of
from oneway.recall.rows import rows_of, schema, with_classes
from oneway.recall.scorer import MemoryBudget, Scorer, choose_scorer
from oneway.recall.spans import Splitter
from oneway.recall.summary import summarise
from oneway.report.progress import progress

PAIRS_AT_ONCE = 400_000  # candidates whose tokens are held at a time
# Multiplications of a part: some seconds on one core, or on a GPU. What a kill may cost is a part.
WORK_AT_ONCE = {"cpu": 5 * 10**10, "cuda": 10**13}


def audit(
    model: Source,
    facts: FactTable,
    config: AuditConfig | None = None,
    *,
    device: str = "auto",
    budget: MemoryBudget | None = None,
    workspace: Path | None = None,
) -> AuditResult:
    """Ask a causal language model every fact of a table, forward, in reverse and in context.

    `model` is a checkpoint directory, a hub name, or a (model, tokenizer) pair. For each question: the
    log-probability of the whole answer in nats, its rank among candidates of the same type, and whether it
    is what greedy decoding says; for each fact a class; for each group of facts means with 95% intervals,
    chance, and forward against reverse. The same seed gives the same rows. With a `workspace`, see
    `Prepared.ask`.

    Raises CheckpointError for a model that cannot be used; ValueError for an empty table, a relation without
    templates, a table that asks nothing, or a model that returns no numbers.
    """
    return prepare(model, facts, config, device=device, budget=budget).ask(workspace)


def prepare(
    model: Source,
    facts: FactTable,
    config: AuditConfig | None = None,
    *,
    device: str = "auto",
    budget: MemoryBudget | None = None,
) -> "Prepared":
    """Load the model, prove it and look at the table; raises as `audit` does, before anything is written."""
    config = config or AuditConfig()
    total = sum(template_count(relation_of(facts, fact), d) for fact in facts for d in config.directions)
    if not total:
        raise ValueError("nothing to ask: the table has no facts, or its relations no templates")
    checkpoint = load_checkpoint(model, Loading(device=device))
    chat = Chat.of(checkpoint.tokenizer, config.chat, config.chat_instruction, checkpoint.name)
    splitter = Splitter(checkpoint.tokenizer, chat)
    scorer, note = choose_scorer(checkpoint.model, budget)
    if np.isnan(scorer.score([(0,)], [(0,)], np.array([[0, 0]])).logprob).any():
        raise _no_numbers(checkpoint)
    return Prepared(checkpoint, splitter, scorer, note, facts, config, total)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An audit that is ready to be asked: `total` questions."""

    checkpoint: Checkpoint
    splitter: Splitter
    scorer: Scorer
    note: str
    table: FactTable
    config: AuditConfig
    total: int

    @property
    def identity(self) -> str:
        """A hash of all that decides the rows: facts, templates, config, weights, tokenizer, scorer, code."""
        return fingerprint(
            {
                "facts": self.table.content_hash,
                "config": asdict(self.config),
                "model": self.checkpoint.identity,
                "chat": str(self.checkpoint.tokenizer.chat_template) if self.splitter.chat else "",
                "scorer": [type(self.scorer).__name__, self.note, PAIRS_AT_ONCE, WORK_AT_ONCE],
                "code": code_version(),
            }
        )

    def ask(self, workspace: Path | None = None) -> AuditResult:
        """Ask everything that is not yet answered in the workspace, and sum up.

        With a `workspace`, a folder whose parent is there, what was answered is kept in it every few seconds;
        killed at any moment, the same call goes on from there to the very same numbers.

        Raises ValueError for a model that returns no numbers, and for a workspace that is another audit's or
        damaged; WriteError where it cannot be written.
        """
        started = time.monotonic()
        parts = Parts(schema(self.table), workspace, self.identity if workspace is not None else "")
        resumed, done = parts.resumed, 0
        asking = _Asking(self)
        with progress("Asking") as advance:
            for number, part in enumerate(asking.parts()):
                if number not in parts:
                    parts.add(number, asking.ask(part))
                done += len(part.questions)
                advance(done, self.total)
        rows, skipped = _divided(parts.take())
        summary = summarise(rows)
        notes = ([RESUMED] if resumed else []) + ([self.note] if self.note else [])
        record = record_of(
            self.checkpoint, self.splitter, self.table, self.config, notes, rows, skipped, summary
        )
        record = replace(record, wall_seconds=time.monotonic() - started)
        return AuditResult(self.table, rows, summary, skipped, record)


def _divided(asked: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows with the classes of their facts, in the order of the table; and the skipped questions.

    In one piece each: a sum over other pieces could differ in its last digit.
    """
    skipped = asked.filter(pl.col("reason").is_not_null()).select(*OF_SKIPPED, "reason")
    rows = asked.filter(pl.col("reason").is_null()) if skipped.height else asked
    rows = with_classes(rows.drop("reason"))
    return rows.rechunk(), skipped.sort(OF_SKIPPED[:3]).rechunk()


@dataclass(frozen=True, slots=True)
class _Part:
    """Questions that are asked together; `order[question.fact_index]` is the fact's place in the table."""

    questions: list[Question]
    ordered: FactTable
    order: list[int]


class _Asking:
    """Asks a table part by part: what is held grows with the rows, not with the candidates."""

    def __init__(self, prepared: Prepared) -> None:
        self._checkpoint, self._scorer, self._table = prepared.checkpoint, prepared.scorer, prepared.table
        self._config, self._splitter, self._pools = prepared.config, prepared.splitter, Pools(self._table)
        self._alike = Alike.of(self._table, self._splitter)
        self._max_positions = self._checkpoint.positions
        self._schema = schema(self._table)

    def parts(self) -> Iterator[_Part]:
        """All questions, direction by direction; the parts depend on nothing but table and config.

        The facts are sorted by what their questions name, so that equal prompts stand in the same part.
        """
        facts = self._table.facts
        most = max(16, min(4096, PAIRS_AT_ONCE // (self._config.candidates + 1)))
        size = min(most, self._questions_at_once())
        for direction in self._config.directions:
            given = "subject" if direction is Direction.FORWARD else "object"
            order = sorted(range(len(facts)), key=lambda i: (facts[i].relation, getattr(facts[i], given), i))
            ordered = self._table.with_facts(facts[i] for i in order)
            asked = questions(ordered, (direction,), prefixes=self._config.prefixes)
            for part in _cut(asked, size, most):
                yield _Part(part, ordered, order)

    def _questions_at_once(self) -> int:
        """How many questions are WORK_AT_ONCE: every weight once for each of 16 + 2 · candidates tokens."""
        model = self._checkpoint.model
        work = WORK_AT_ONCE.get(model.device.type, WORK_AT_ONCE["cuda"])
        weights = sum(weight.numel() for weight in model.parameters())
        return max(8, work // (weights * (16 + 2 * self._config.candidates)))

    def ask(self, part: _Part) -> pl.DataFrame:
        """The rows of a part, and behind them its questions that were not scored, each with the reason."""
        asks = gather(part.questions, part.ordered.facts, self._pools, self._config)
        batch = tokenize(asks, self._splitter, self._max_positions)
        scores = self._scorer.score(batch.contexts, batch.answers, batch.pairs)
        if np.isnan(scores.logprob).any():
            raise _no_numbers(self._checkpoint)
        scored = [ask for ask in asks if not ask.skipped]
        rows = [row for a in scored for row in rows_of(a, scores, self._table, part.order, self._alike)]
        skipped = [
            dict(
                zip(
                    (*OF_SKIPPED, "reason"),
                    (part.order[q.fact_index], q.direction.value, q.template_index, q.prompt, ask.skipped),
                    strict=True,
                )
            )
            for ask in asks
            if ask.skipped
            for q in ask.questions
        ]
        columns = self._schema | {"reason": pl.String}
        frames = [pl.DataFrame(some, schema=columns) for some in (rows, skipped) if some]
        return pl.concat(frames) if frames else pl.DataFrame(schema=columns)


def _cut(items: Iterable[Question], size: int, most: int) -> Iterator[list[Question]]:
    """Parts of about `size` questions; those that name one entity stay together, up to `most`."""
    part: list[Question] = []
    for item in items:
        if len(part) >= most or (len(part) >= size and item.given != part[-1].given):
            yield part
            part = []
        part.append(item)
    if part:
        yield part


def _no_numbers(checkpoint: Checkpoint) -> ValueError:
    return ValueError(f"{checkpoint.name} gives NaN instead of log-probabilities")
