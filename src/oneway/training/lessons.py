"""Facts as rows of tokens: recited sentences and in-context episodes, packed, with their loss marked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from transformers import PreTrainedTokenizerFast

from oneway.facts import FactTable
from oneway.facts.corpora import Sentence, episodes, training_sentences
from oneway.facts.fact import Fact
from oneway.facts.names import arbitrary_facts, repaired_facts
from oneway.training.fit import Batch

T = TypeVar("T")
Loss = Literal["answer", "document"]  # what is to be predicted of a document

STEPS_AT_ONCE = 100  # batches are written this many at a time, from nothing but the seed and their number


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What a model reads: about `tokens_a_step` tokens a step, in rows filled with documents.

    A document recites a fact, or is an in-context episode (a share `episodes` of them): 1 to `most_stated`
    facts that are true nowhere, one of them then asked in reverse. A share `repaired` of those facts pairs
    people of the table anew, so that reading must win over remembering; the others are about names that
    nobody has, made of the table's words, a share `same_surname` of the pairs with one surname.

    `loss`: on the answer (and the full stop after it), or on every token of a document.
    """

    tokens_a_step: int = 2048
    episodes: float = 0.5
    most_stated: int = 2
    repaired: float = 0.5
    same_surname: float = 0.5
    loss: Loss = "answer"

    def __post_init__(self) -> None:
        """Raises ValueError for a share of episodes that leaves nothing recited, or episodes of nothing."""
        if self.most_stated < 1:
            raise ValueError(f"an episode states at least 1 fact, not {self.most_stated}")
        if not 0 <= self.episodes < 1:
            raise ValueError(f"the share of episodes must be at least 0 and below 1, not {self.episodes}")


class Document(NamedTuple):
    """Token ids with their BOS, and which of them are targets."""

    tokens: Int[np.ndarray, " pos"]
    target: Bool[np.ndarray, " pos"]


class Written(ABC):
    """Batches as a function of the step: a hundred at a time are written from nothing but the seed and their number."""

    def __init__(self, rows: int, row_tokens: int, seed: int):
        self.rows, self.row_tokens, self.seed = rows, row_tokens, seed
        self._written: tuple[int, list[Batch]] = (-1, [])

    def __call__(self, step: int) -> Batch:
        number, index = divmod(step, STEPS_AT_ONCE)
        if self._written[0] != number:
            packed = self.write(np.random.default_rng((self.seed, number)), self.rows * STEPS_AT_ONCE)
            starts = range(0, self.rows * STEPS_AT_ONCE, self.rows)
            batches = [
                _batch(packed.tokens[at : at + self.rows], packed.target[at : at + self.rows])
                for at in starts
            ]
            self._written = (number, batches)
        return self._written[1][index]

    @abstractmethod
    def write(self, rng: np.random.Generator, rows: int) -> "Packed":
        """So many rows of tokens."""


class Curriculum(Written):
    """Batches as a function of the step: facts in a new order again and again, episodes always new.

    Episodes re-pair the facts of every relation that has reverse templates, and invent people for those of
    them that are one-to-one; where no relation is, every document recites. No episode ever states a pair of
    the table. A row is as long as the longest document can be.
    """

    def __init__(self, table: FactTable, tokenizer: PreTrainedTokenizerFast, lessons: Lessons, seed: int):
        """Raises ValueError where nothing is to be recited."""
        self.tokenizer, self.lessons = tokenizer, lessons
        sentences = list(training_sentences(table))
        if not sentences:
            raise ValueError("no fact of the table is to be trained: every split is 'unseen'")
        self.recited = self._encoded(sentences)
        self.askable = table.with_facts(fact for fact in table if table.relations[fact.relation].reverse)
        self.about_people = self.askable.with_facts(
            fact for fact in self.askable if table.relations[fact.relation].one_to_one
        )
        self.lessons = lessons if len(self.about_people) > 1 else replace(lessons, episodes=0.0)
        longest = max(len(document.tokens) for document in self.recited)
        most = self.lessons.most_stated + 1 if self.lessons.episodes else 1
        row_tokens = max(32, 1 + most * (longest - 1))
        super().__init__(max(1, self.lessons.tokens_a_step // row_tokens), row_tokens, seed)

    def write(self, rng: np.random.Generator, rows: int) -> "Packed":
        return pack(self._documents(rng), rows, self.row_tokens)

    def _documents(self, rng: np.random.Generator) -> Iterator[Document]:
        asked = self._episodes(rng) if self.lessons.episodes else iter(())
        for document in endless(self.recited, rng):
            while rng.random() < self.lessons.episodes:
                yield next(asked)
            yield document

    def _episodes(self, rng: np.random.Generator) -> Iterator[Document]:
        repaired, same = self.lessons.repaired, self.lessons.same_surname
        facts = untrue_facts(self.askable, self.about_people, rng, repaired=repaired, same_surname=same)
        return in_batches(
            episodes(facts, self.askable.relations, rng, most=self.lessons.most_stated), self._encoded
        )

    def _encoded(self, sentences: Sequence[Sentence]) -> list[Document]:
        return encoded(sentences, self.tokenizer, self.lessons.loss)


def untrue_facts(
    askable: FactTable,
    about_people: FactTable,
    rng: np.random.Generator,
    *,
    repaired: float,
    same_surname: float,
    known: Collection[str] = frozenset(),
) -> Iterator[Fact]:
    """Endless facts that are true nowhere, for episodes.

    A share `repaired` pairs the names of `askable` anew, the others invent people like those of `about_people`, with
    none of the `known` names; `same_surname` is the share of these pairs that have one surname.
    """
    invented = arbitrary_facts(about_people, rng, same_surname=same_surname, known=known)
    anew = repaired_facts(askable, rng)
    while True:
        yield next(anew if rng.random() < repaired else invented)


def endless(items: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """All of them in a new order, again and again; nothing where there are none."""
    while items:
        for index in rng.permutation(len(items)):
            yield items[index]


def in_batches(
    sentences: Iterator[Sentence], encode: Callable[[Sequence[Sentence]], list[Document]], at_once: int = 256
) -> Iterator[Document]:
    """Endless sentences encoded many at a time: a tokenizer is slow to start."""
    while True:
        yield from encode([next(sentences) for _ in range(at_once)])


def encoded(sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerFast, loss: Loss) -> list[Document]:
    """Sentences as token ids with their targets: the answer and the stop behind it, or every token but the BOS."""
    read = tokenizer([s.text for s in sentences], return_offsets_mapping=True)
    documents = []
    for sentence, ids, offsets in zip(sentences, read["input_ids"], read["offset_mapping"], strict=True):
        starts, ends = np.array(offsets).T
        first, last = sentence.answer_span if loss == "answer" else (0, len(sentence.text))
        # A token reaches into the answer where it ends after its start; the stop behind it counts too.
        target = (ends > first) & (starts <= last) & (ends > starts)
        documents.append(Document(np.array(ids), target))
    return documents


class Packed(NamedTuple):
    """Rows of documents one after the other, each with its BOS; what is left of a row is 0."""

    tokens: Int[np.ndarray, "row pos"]
    target: Bool[np.ndarray, "row pos"]


def pack(documents: Iterator[Document], rows: int, length: int) -> Packed:
    """Fill rows with whole documents in their order; a document that no longer fits begins the next row.

    Raises ValueError where a document is longer than a row: nothing is cut.
    """
    tokens, target = np.zeros((rows, length), np.int64), np.zeros((rows, length), bool)
    document = next(documents)
    for row in range(rows):
        at = 0
        while at + len(document.tokens) <= length:
            end = at + len(document.tokens)
            tokens[row, at:end], target[row, at:end] = document
            at, document = end, next(documents)
        if at == 0:
            raise ValueError(f"a document of {len(document.tokens)} tokens does not fit in a row of {length}")
    return Packed(tokens, target)


def _batch(tokens: Int[np.ndarray, "row pos"], target: Bool[np.ndarray, "row pos"]) -> Batch:
    targets = np.flatnonzero(target)
    return Batch(
        tokens=torch.from_numpy(tokens)[None],
        positions=torch.from_numpy(targets - 1)[None],
        targets=torch.from_numpy(tokens.reshape(-1)[targets])[None],
        weights=torch.ones(1, len(targets)),
    )
