"""A table of facts to a small model that knows them, as a Hugging Face checkpoint."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
from transformers import PreTrainedTokenizerFast

from oneway.evidence import RunRecord, sha256
from oneway.evidence.atomic import write_text, write_with
from oneway.evidence.record import RESUMED, fingerprint
from oneway.facts import FactTable
from oneway.facts.corpora import training_sentences
from oneway.facts.splits import Trained
from oneway.models.architecture import Architecture, gpt2, neox
from oneway.models.export import save_checkpoint
from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.models.transformer import Weights, initial_weights
from oneway.report.progress import progress
from oneway.training.fit import fit, next_token_loss
from oneway.training.lessons import Curriculum, Lessons, Written
from oneway.training.optimisers import Optimisation
from oneway.training.sequences import Mixture, Sequences

CURVES, RECORD, WORKSPACE, LOSS_EVERY = "curves.parquet", "record.json", "training", 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The small decoder that is to learn the facts."""

    style: Literal["neox", "gpt2"] = "neox"
    layers: int = 4
    width: int = 64
    heads: int = 4
    context: int = 64


def learnt_in_minutes() -> Optimisation:
    """Muon on the matrices, a falling rate: what learns some thousand facts in some 1,300 steps."""
    return Optimisation(
        steps=1300,
        learning_rate=6e-3,
        betas=(0.9, 0.95),
        weight_decay=0.0,
        matrices="muon",
        schedule="linear",
        warm_up=0.05,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """Everything that decides what a model learns from a table."""

    size: Size = field(default_factory=Size)
    tokens: Literal["word", "bpe"] = "word"
    bpe_vocabulary: int = 2000
    lessons: Lessons | Sequences = field(default_factory=Lessons)
    optimisation: Optimisation = field(default_factory=learnt_in_minutes)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Taught:
    """Where the checkpoint lies, and the record of how it came to know: `record.json` and its curves there."""

    checkpoint: Path
    teaching: Teaching
    record: RunRecord
    curves: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Course:
    """All that there is before the first step: whatever is wrong with table or config has been said."""

    table: FactTable
    teaching: Teaching
    tokenizer: PreTrainedTokenizerFast
    curriculum: Written
    architecture: Architecture

    @property
    def facts(self) -> str:
        """A hash of what is taught: the facts, whatever file they came from, and the words of the relations."""
        used = dict.fromkeys(fact.relation for fact in self.table)
        return fingerprint(
            {
                "facts": [asdict(fact) | {"source": ""} for fact in self.table],
                "relations": {name: asdict(self.table.relations[name]) for name in used},
            }
        )


def prepare(table: FactTable, teaching: Teaching | None = None) -> Course:
    """Get ready to teach; nothing is trained or written yet.

    Raises ValueError for a split that says no directions, a table without facts to state, and a size that no
    model can have.
    """
    teaching = teaching or Teaching()
    table = labelled(table)
    tokenizer = _tokenizer(table, teaching)
    curriculum = _curriculum(table, tokenizer, teaching)
    architecture = _architecture(teaching, len(tokenizer), curriculum.row_tokens)
    return Course(table, teaching, tokenizer, curriculum, architecture)


def teach(table: FactTable, out: Path, teaching: Teaching | None = None) -> Taught:
    """Train a model on a table and write it to `out` as a checkpoint that `transformers` loads.

    A fact's split says in which directions it is stated: forward_only, reverse_only, both_ways or unseen; a
    fact without a split is stated forward only. The state of training lies in `out/training`; killed at any
    moment, the same call continues from there and ends with the same weights.

    Raises ValueError as `prepare` does, and as `fit` does.
    """
    return follow(prepare(table, teaching), out)


def follow(course: Course, out: Path) -> Taught:
    """The second half of `teach`: train as prepared and write the checkpoint."""
    started = time.monotonic()
    table, teaching, curriculum = course.table, course.teaching, course.curriculum
    architecture, facts = course.architecture, course.facts
    out.mkdir(parents=True, exist_ok=True)

    def loss(weights: Weights, step: int) -> list[dict[str, Any]]:
        value = float(next_token_loss(weights, architecture, curriculum(step)))
        return [{"seed": teaching.seed, "step": step, "quantity": "loss, nats per target", "value": value}]

    with progress("training") as advance:
        fitted = fit(
            initial_weights(architecture, (teaching.seed,)),
            architecture,
            curriculum,
            teaching.optimisation,
            evaluate=loss,
            evaluate_every=LOSS_EVERY,
            workspace=out / WORKSPACE,
            fingerprint=fingerprint({"teaching": asdict(teaching), "facts": facts}),
            progress=advance,
        )
    curves = pl.DataFrame(fitted.curves)
    write_with(out / CURVES, curves.write_parquet)
    save_checkpoint(fitted.weights, architecture, course.tokenizer, out)
    record = RunRecord(
        study="train",
        run_id=out.resolve().name,
        title=f"A small model that was taught {len(table):,} facts",
        asked="What was it taught, in which directions, and with which loss?",
        config={**asdict(teaching), "architecture": asdict(architecture), "directions": _counted(table)},
        seeds=[teaching.seed],
        data={"facts": facts},
        checkpoints={"model.safetensors": sha256(out / "model.safetensors")},
        notes=[*table.notes, *([RESUMED] if fitted.steps_run < teaching.optimisation.steps else [])],
        tables={"curves": CURVES},
        wall_seconds=round(time.monotonic() - started, 1),
    )
    write_text(out / RECORD, record.to_json())
    return Taught(out, teaching, record, curves)


def _counted(table: FactTable) -> dict[str, int]:
    """How many facts are stated in which directions."""
    return dict(Counter(fact.split for fact in table))


def labelled(table: FactTable) -> FactTable:
    """The table with every fact that has no split labelled as stated forward only.

    Raises ValueError where a fact has a split that does not say in which directions it is trained.
    """
    known = {trained.value for trained in Trained}
    wrong = [fact for fact in table if fact.split and fact.split not in known]
    if wrong:
        where = f" ({wrong[0].source})" if wrong[0].source else ""
        raise ValueError(
            f"{len(wrong)} facts have a split that is not one of {', '.join(sorted(known))}; the first is "
            f"{wrong[0].split!r} of {wrong[0].subject!r}{where}"
        )
    return table.with_facts(
        fact if fact.split else replace(fact, split=Trained.FORWARD_ONLY.value) for fact in table
    )


def _tokenizer(table: FactTable, teaching: Teaching) -> PreTrainedTokenizerFast:
    texts = list(_texts(table))
    if teaching.tokens == "word":
        return word_tokenizer(texts)
    return bpe_tokenizer(texts, teaching.bpe_vocabulary)


def _curriculum(table: FactTable, tokenizer: PreTrainedTokenizerFast, teaching: Teaching) -> Written:
    if isinstance(teaching.lessons, Sequences):
        return Mixture(table, tokenizer, teaching.lessons, teaching.seed)
    return Curriculum(table, tokenizer, teaching.lessons, teaching.seed)


def _texts(table: FactTable) -> Iterator[str]:
    """All that the model may be asked: every name, also of facts it never sees, and every template."""
    for fact in table:
        yield f"{fact.subject}. {fact.object}. {'. '.join((*fact.aliases, *fact.subject_aliases))}"
    for sentence in training_sentences(table):
        yield sentence.text
    for relation in table.relations.values():
        for template in relation.forward + relation.reverse + relation.one_shot:
            yield template.replace("{subject}", " ").replace("{object}", " ")


def _architecture(teaching: Teaching, vocab: int, row_tokens: int) -> Architecture:
    size = teaching.size
    style = {"neox": neox, "gpt2": gpt2}[size.style]
    context = max(size.context, row_tokens)
    return style(vocab=vocab, context=context, layers=size.layers, width=size.width, heads=size.heads)
