"""Several kinds of text in fixed shares of the rows, for a model whose lookup is to be taken apart."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from oneway.facts import Direction, Fact, FactTable, training_directions
from oneway.facts.corpora import Sentence, entry, episodes, one_shot_sentences, training_sentences
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

Documents = Callable[[np.random.Generator], Iterator[Document]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """`rows` of `row_tokens` a step, each of one kind of text; the kinds' shares of the rows sum to 1.

    `one_shot`: one-shot prompts, of the relations that have them. `prose`: sentences one after the other about the
    people of these relations, a share `entries` of them rows of a table: a name, then all its attributes in a new
    order. Whichever comes first must be known by the end of the name, which forces the lookup there. `one_way`: facts
    of one-to-one relations, one after the other. `episodes`: in-context episodes of 1 to `most_stated` such facts, none
    of them true, as in `Lessons`. `others`: prose about everybody else.

    The loss is on answers alone: nothing else of a name, and no words around it, can be foretold.
    """

    rows: int = 64
    row_tokens: int = 32
    one_shot: float = 0.12
    prose: float = 0.48
    entries: float = 0.44
    one_way: float = 0.08
    episodes: float = 0.15
    others: float = 0.17
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


class Mixture(Written):
    """Batches as a function of the step: of the rows of every hundred steps each kind has its share.

    Within a kind sentences come in a new order again and again, episodes are always new and never state a pair of the
    table. A row begins with the BOS; prose goes on without one.
    """

    def __init__(self, table: FactTable, tokenizer: PreTrainedTokenizerFast, sequences: Sequences, seed: int):
        """Raises ValueError where the table has nothing for a kind that has a share."""
        super().__init__(sequences.rows, sequences.row_tokens, seed)
        self.table, self.tokenizer, self.sequences = table, tokenizer, sequences
        relations = table.relations
        self.pairs = table.with_facts(f for f in table if relations[f.relation].one_to_one)
        rest = [f for f in table if not relations[f.relation].one_to_one]
        asked = {f.subject for f in rest if relations[f.relation].one_shot}
        people = table.with_facts(f for f in rest if f.subject in asked)
        others = table.with_facts(f for f in rest if f.subject not in asked)
        one_shot = self._encoded(list(one_shot_sentences(people)))
        one_way = self._encoded(list(training_sentences(self.pairs)))
        of = sequences
        self.kinds: dict[str, tuple[float, Documents]] = {
            "one_shot": (of.one_shot, lambda rng: endless(one_shot, rng)),
            "prose": (of.prose, self._prose(people)),
            "one_way": (of.one_way, lambda rng: passages(endless(one_way, rng), self.row_tokens)),
            "episodes": (of.episodes, self._episodes),
            "others": (of.others, self._prose(others)),
        }
        for name, (share, documents) in self.kinds.items():
            if share and next(documents(np.random.default_rng(0)), None) is None:
                raise ValueError(
                    f"a share of {share:g} of the rows is for {name}, but the table has nothing for it"
                )

    def write(self, rng: np.random.Generator, rows: int) -> Packed:
        ends = np.round(np.cumsum([0.0, *(share for share, _ in self.kinds.values())]) * rows).astype(int)
        parts = [
            pack(documents(rng), count, self.row_tokens)
            for count, (_, documents) in zip(np.diff(ends).tolist(), self.kinds.values(), strict=True)
            if count
        ]
        order = rng.permutation(rows)
        tokens, target = (np.concatenate(part)[order] for part in zip(*parts, strict=True))
        return Packed(tokens, target)

    def _prose(self, table: FactTable) -> Documents:
        sentences = self._encoded(list(training_sentences(table)))
        known: dict[str, list[Fact]] = defaultdict(list)
        for fact in table:
            if Direction.FORWARD in training_directions(fact):
                known[fact.subject].append(fact)
        people = list(known.values())

        def entries(rng: np.random.Generator) -> Iterator[Sentence]:
            for index, facts in enumerate(endless(people, rng)):
                yield entry(facts, rng.permutation(len(facts)).tolist(), index)

        def said(rng: np.random.Generator) -> Iterator[Document]:
            told, listed = endless(sentences, rng), in_batches(entries(rng), self._encoded)
            while sentences:
                yield next(listed if rng.random() < self.sequences.entries else told)

        return lambda rng: passages(said(rng), self.row_tokens)

    def _episodes(self, rng: np.random.Generator) -> Iterator[Document]:
        if len(self.pairs) < 2:
            return iter(())
        known = {name for fact in self.table for name in (fact.subject, fact.object)}
        repaired, same = self.sequences.repaired, self.sequences.same_surname
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
