"""Several kinds of text in fixed shares of the rows, for a model whose lookup is to be taken apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from oneway.facts import Direction, FactTable, training_directions
from oneway.facts.corpora import Sentence, entry, episodes, one_shot_sentences, training_sentences
from oneway.training.fit import Batch
from oneway.training.lessons import (
    Document,
    Packed,
    Written,
    encoded,
    endless,
    in_batches,
    pack,
    untrue_facts,
)
from oneway.training.roll import Roll, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """`rows` of `row_tokens` a step, each of one kind of text; the kinds' shares of the rows sum to 1.

    `one_shot`: one-shot prompts, of the relations that have them. `prose`: sentences one after the other about the
    people of these relations, a share `entries` of them no more than a name and one of its attributes. `one_way`: facts
    of one-to-one relations, one after the other. `episodes`: in-context episodes of 1 to `most_stated` such facts, none
    of them true, as in `Lessons`. `others`: prose about everybody else.

    For the first `roll_steps` steps the rows of one-shot prompts and prose hold a `Roll` of names instead: everybody is
    to be known by the end of the name before anything is asked further on. Asked from the start, a model looks people
    up a second time where the answer is said: the same MLPs do it there, once a head has copied the name.

    The loss is on answers alone: nothing else of a name, and no words around it, can be foretold.
    """

    rows: int = 64
    row_tokens: int = 32
    roll_steps: int = 600
    one_shot: float = 0.12
    prose: float = 0.50
    entries: float = 0.50
    one_way: float = 0.08
    episodes: float = 0.20
    others: float = 0.10
    most_stated: int = 2
    repaired: float = 0.5
    same_surname: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError where the kinds' shares do not sum to 1, or one is no share."""
        shares = (self.one_shot, self.prose, self.one_way, self.episodes, self.others)
        if min(*shares, self.entries) < 0 or self.entries > 1 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(
                f"the shares of the rows must be at least 0 and sum to 1, not to {sum(shares):g}"
            )


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of text: its share of the rows, and its documents, endless, in an order that is drawn."""

    name: str
    share: float
    documents: Callable[[np.random.Generator], Iterator[Document]]


class Shared(Written):
    """Batches as a function of the step: of the rows of every hundred steps each kind has its share."""

    def __init__(self, kinds: Sequence[Kind], rows: int, row_tokens: int, seed: int):
        """Raises ValueError where a kind with a share has no documents."""
        super().__init__(rows, row_tokens, seed)
        self.kinds = [kind for kind in kinds if kind.share]
        for kind in self.kinds:
            if next(kind.documents(np.random.default_rng(0)), None) is None:
                raise ValueError(
                    f"a share of {kind.share:g} of the rows is for {kind.name}, but the table has nothing for it"
                )

    def write(self, rng: np.random.Generator, rows: int) -> Packed:
        shares = np.cumsum([0.0, *(kind.share for kind in self.kinds)])
        ends = np.round(shares / shares[-1] * rows).astype(int)
        parts = [
            pack(kind.documents(rng), count, self.row_tokens)
            for kind, count in zip(self.kinds, np.diff(ends).tolist(), strict=True)
            if count
        ]
        order = rng.permutation(rows)
        tokens, target = (np.concatenate(part)[order] for part in zip(*parts, strict=True))
        return Packed(tokens, target)


class Mixture(Shared):
    """Batches as a function of the step, as `Sequences` says.

    Within a kind sentences come in a new order again and again, episodes are always new and never state a pair of the
    table. A row begins with the BOS; prose goes on without one.
    """

    def __init__(self, table: FactTable, tokenizer: PreTrainedTokenizerFast, sequences: Sequences, seed: int):
        """Raises ValueError where the table has nothing for a kind that has a share."""
        self.table, self.tokenizer, self.sequences = table, tokenizer, sequences
        relations, length, of = table.relations, sequences.row_tokens, sequences
        self.pairs = table.with_facts(f for f in table if relations[f.relation].one_to_one)
        rest = table.with_facts(f for f in table if not relations[f.relation].one_to_one)
        asked = {f.subject for f in rest if relations[f.relation].one_shot}
        people = table.with_facts(f for f in rest if f.subject in asked)
        others = table.with_facts(f for f in rest if f.subject not in asked)
        one_shot = self._encoded(list(one_shot_sentences(people)))
        one_way = self._encoded(list(training_sentences(self.pairs)))
        beside = [
            Kind("one_way", of.one_way, lambda rng: passages(endless(one_way, rng), length)),
            Kind("episodes", of.episodes, self._episodes),
        ]
        asking = [
            Kind("one_shot", of.one_shot, lambda rng: endless(one_shot, rng)),
            Kind("prose", of.prose, self._prose(people)),
            Kind("others", of.others, self._prose(others)),
        ]
        super().__init__([*asking, *beside], of.rows, length, seed)
        rolled = round(sum(kind.share for kind in asking) * of.rows)
        self.roll = Roll(rest, tokenizer, rolled, length, seed) if of.roll_steps and rolled else None
        self.beside = Shared(beside, of.rows - rolled, length, seed) if rolled < of.rows else None

    def __call__(self, step: int) -> Batch:
        if step >= self.sequences.roll_steps or self.roll is None:
            return super().__call__(step)
        return self.roll(step) if self.beside is None else joined(self.roll(step), self.beside(step))

    def _prose(self, table: FactTable) -> Callable[[np.random.Generator], Iterator[Document]]:
        told = self._encoded(list(training_sentences(table)))
        known = [fact for fact in table if Direction.FORWARD in training_directions(fact)]
        entries = self._encoded([entry(fact, index) for index, fact in enumerate(known)])

        def said(rng: np.random.Generator) -> Iterator[Document]:
            sentences, rows = endless(told, rng), endless(entries, rng)
            while told:
                yield next(rows if rng.random() < self.sequences.entries else sentences)

        return lambda rng: passages(said(rng), self.sequences.row_tokens)

    def _episodes(self, rng: np.random.Generator) -> Iterator[Document]:
        if len(self.pairs) < 2:
            return iter(())
        repaired, same = self.sequences.repaired, self.sequences.same_surname
        known = {name for fact in self.table for name in (fact.subject, fact.object)}
        facts = untrue_facts(self.pairs, self.pairs, rng, known=known, repaired=repaired, same_surname=same)
        written = episodes(facts, self.table.relations, rng, most=self.sequences.most_stated)
        return in_batches(written, self._encoded)

    def _encoded(self, sentences: Sequence[Sentence]) -> list[Document]:
        return encoded(sentences, self.tokenizer, "answer") if sentences else []


def passages(sentences: Iterator[Document], length: int) -> Iterator[Document]:
    """Sentences one after the other behind one BOS, as many as fit in so many tokens; the next begins a new passage."""
    passage: Document | None = None
    for sentence in sentences:
        if passage is None:
            passage = sentence
        elif len(passage.tokens) + len(sentence.tokens) - 1 <= length:
            passage = Document(*(np.concatenate((a, b[1:])) for a, b in zip(passage, sentence, strict=True)))
        else:
            yield passage
            passage = sentence
    if passage is not None:
        yield passage
