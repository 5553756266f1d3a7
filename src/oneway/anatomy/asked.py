"""Questions about the facts of one relation, laid out so that a position means the same in all of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oneway.anatomy.intervals import other_answers
from oneway.engine import AllLogits, Engine
from oneway.facts import Fact, FactTable, Relation
from oneway.facts.rendering import Filled, fill

FEWEST_FACTS, FEWEST_ANSWERS = 20, 3  # below, intervals and "another answer" mean little


class TooFewFacts(ValueError):
    """Facts that cannot be dissected: too few of them, or too few different answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Prompts that have equally many tokens and their subject's name at the same positions.

    An answer is told by its first token; `right` says which of `answers` each prompt's is. The last token of the name
    is where facts are looked up, the prompt's last token where they are said.
    """

    facts: tuple[Fact, ...]
    tokens: Int[Tensor, "fact pos"]
    front: int  # how many tokens the tokenizer puts in front (a BOS)
    name: range
    answers: Int[Tensor, " answer"]
    labels: tuple[str, ...]
    right: Int[Tensor, " fact"]
    said: int = 0  # how many tokens of the answer stand in the prompt already

    @property
    def final(self) -> int:
        """The position of the name's last token."""
        return self.name.stop - 1

    @property
    def last(self) -> int:
        """The position after which the answer is said."""
        return self.tokens.shape[1] - 1

    @property
    def alone(self) -> Int[Tensor, "fact short"]:
        """The name without context, behind what the tokenizer puts in front."""
        return torch.cat(
            (self.tokens[:, : self.front], self.tokens[:, self.name.start : self.name.stop]), dim=1
        )

    @property
    def right_token(self) -> Int[Tensor, " fact"]:
        """The first token of each prompt's right answer."""
        return self.answers[self.right]

    def __len__(self) -> int:
        return len(self.facts)

    def others(self, *, seed: int = 0) -> list[int]:
        """For every question another one with another right answer, which begins as this one if part of it was said.

        What a resample ablation takes its values from. Raises ValueError where a question has none.
        """
        return other_answers(self.right, alike=self._beginnings, seed=seed)

    @property
    def with_others(self) -> "Asked":
        """Those of the questions that have another one with another right answer that begins alike."""
        begun = self._beginnings
        several = [len(self.right[begun == one].unique()) > 1 for one in begun.tolist()]
        return self.only(torch.tensor(several, dtype=torch.bool))

    @property
    def _beginnings(self) -> Int[Tensor, " fact"]:
        said = self.tokens[:, self.tokens.shape[1] - self.said :]
        return said.unique(dim=0, return_inverse=True)[1] if self.said else torch.zeros_like(self.right)

    def only(self, rows: Sequence[int] | Int[Tensor, " some"] | Bool[Tensor, " fact"]) -> "Asked":
        """Some of the questions; the answers stay what they were."""
        index = torch.as_tensor(rows)
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index.long()
        facts = tuple(self.facts[i] for i in index.tolist())
        return replace(self, facts=facts, tokens=self.tokens[index], right=self.right[index])


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """The questions of a relation, grouped by the tokens of name and prompt, the largest group first.

    `notes` name every fact that is not asked, with the reason: nothing is dropped silently.
    """

    relation: str
    groups: tuple[Asked, ...]
    notes: tuple[str, ...]


def ask(
    tokenizer: PreTrainedTokenizerBase,
    table: FactTable,
    relation: str,
    *,
    template: int = 0,
    one_shot: int | None = None,
    said: int = 0,
) -> Questions:
    """Put the facts of a relation as questions, by one of its forward templates and, if wanted, a one-shot prefix.

    With `said`, the prompt goes on with so many tokens of the right answer and asks for the next one.

    A fact is left out, and noted, where its name stands for two entities (several answers that differ in their first
    token), where a token reaches over the edge of its name or of the prompt, or where it holds a token that the model
    does not know. Groups of fewer than 20 facts or 3 answers are left out whole.

    Raises TooFewFacts where no group is left, and ValueError for a relation, template or prefix that is not there, or a
    template that puts the subject behind the answer.
    """
    words = _words(table, relation)
    prefix = "" if one_shot is None else _item(words.one_shot, one_shot, f"one-shot prefix of {relation}")
    asked = _item(words.forward, template, f"forward template of {relation}")
    answers_of: dict[str, dict[str, Fact]] = defaultdict(dict)
    for fact in table.select(relation=relation):
        answers_of[fact.subject].setdefault(fact.object, fact)
    facts = [fact for own in answers_of.values() for fact in own.values()]
    filled = [fill(asked, fact.subject, fact.object) for fact in facts]
    if filled and filled[0].object[0] < filled[0].subject[0]:
        raise ValueError(
            f"template {asked!r} puts the answer before the subject: there is nothing to ask forward"
        )
    left_out: Counter[str] = Counter()
    rows: dict[tuple[int, range], list[tuple[Fact, list[int], int]]] = defaultdict(list)
    for fact, read in zip(facts, _read(tokenizer, prefix, filled, said), strict=True):
        if isinstance(read, str):
            left_out[read] += 1
        else:
            rows[len(read.prompt), read.name].append((fact, read.prompt, read.answer))
    first = {(fact.subject, fact.object): answer for group in rows.values() for fact, _, answer in group}
    twice = {
        subject
        for subject, own in answers_of.items()
        if len({first.get((subject, o)) for o in own} - {None}) > 1
    }
    front = _in_front(tokenizer)
    groups = []
    for (_, name), group in sorted(rows.items(), key=lambda item: -len(item[1])):
        kept = {
            fact.subject: (fact, prompt, answer)
            for fact, prompt, answer in group
            if fact.subject not in twice
        }
        left_out["the name stands for several right answers"] += sum(f.subject in twice for f, _, _ in group)
        different = len({answer for _, _, answer in kept.values()})
        if len(kept) < FEWEST_FACTS or different < FEWEST_ANSWERS:
            left_out[f"only {len(kept)} facts and {different} answers with names of {len(name)} tokens"] += (
                len(kept)
            )
            continue
        groups.append(_asked(list(kept.values()), name, front, said))
    notes = tuple(f"{count} facts not asked: {reason}" for reason, count in left_out.items() if count)
    if not groups:
        raise TooFewFacts(
            f"{relation}: no {FEWEST_FACTS} facts with {FEWEST_ANSWERS} answers can be asked alike. "
            + "; ".join(notes)
        )
    return Questions(relation, tuple(groups), notes)


def probabilities(engine: Engine, asked: Asked) -> Float[Tensor, "fact answer"]:
    """The probability of each answer over the whole vocabulary."""
    scores = engine.effects(asked.tokens, [], AllLogits()).clean
    return scores.softmax(-1)[:, asked.answers.to(scores.device)].cpu()


def known(engine: Engine, asked: Asked, least: float = 0.5) -> Bool[Tensor, " fact"]:
    """Which facts the model knows: the right answer has more than `least` of the probability over the whole vocabulary.

    A guard against keeping lucky guesses among few answers. Source: the Fact Finding sequence (Nanda et al. 2023),
    post 2.
    """
    return probabilities(engine, asked).gather(1, asked.right[:, None])[:, 0] > least


@dataclass(frozen=True, slots=True)
class _Read:
    prompt: list[int]
    name: range
    answer: int


def _read(
    tokenizer: PreTrainedTokenizerBase, prefix: str, filled: Sequence[Filled], said: int
) -> list[_Read | str]:
    """The tokens of every prompt, or why it cannot be asked."""
    if not filled:
        return []
    unknown = {tokenizer.unk_token_id} - {None}
    own = _tokens(tokenizer, [prefix + one.text[: one.object[0]].removesuffix(" ") for one in filled])
    whole = _tokens(tokenizer, [prefix + one.text[: one.object[1]] for one in filled])
    found: list[_Read | str] = []
    for one, (ids, offsets), (all_ids, _) in zip(filled, own, whole, strict=True):
        start, end = (len(prefix) + edge for edge in one.subject)
        at = [i for i, (low, high) in enumerate(offsets) if high > start and low < end and high > low]
        if all_ids[: len(ids)] != ids or len(all_ids) == len(ids):
            found.append("a token reaches over the end of the prompt")
        elif not at or offsets[at[-1]][1] > end or offsets[at[0]][0] < start - 1:
            found.append("a token reaches over the edge of the name")
        elif len(all_ids) <= len(ids) + said:
            found.append(f"its answer has no token after {said}")
        elif unknown & {*all_ids[: len(ids) + said + 1]}:
            found.append("it holds a word that the model does not know")
        else:
            end = len(ids) + said
            found.append(_Read(all_ids[:end], range(at[0], at[-1] + 1), all_ids[end]))
    return found


def _tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """The tokens of texts and their places, without what the tokenizer puts behind (an end of sequence)."""
    read = tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    found = []
    for ids, offsets, special in zip(
        read["input_ids"], read["offset_mapping"], read["special_tokens_mask"], strict=True
    ):
        length = len(ids)
        while length and special[length - 1]:
            length -= 1
        found.append((ids[:length], offsets[:length]))
    return found


def _in_front(tokenizer: PreTrainedTokenizerBase) -> int:
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return special.index(0)


def _asked(group: list[tuple[Fact, list[int], int]], name: range, front: int, said: int) -> Asked:
    labels: dict[int, dict[str, None]] = defaultdict(dict)
    for fact, _, answer in group:
        labels[answer][fact.object] = None
    order = {answer: i for i, answer in enumerate(labels)}
    return Asked(
        facts=tuple(fact for fact, _, _ in group),
        tokens=torch.tensor([prompt for _, prompt, _ in group]),
        front=front,
        name=name,
        answers=torch.tensor(list(order)),
        labels=tuple(" / ".join(names) for names in labels.values()),
        right=torch.tensor([order[answer] for _, _, answer in group]),
        said=said,
    )


def _words(table: FactTable, relation: str) -> Relation:
    if relation not in table.relations:
        raise ValueError(f"no relation {relation!r} in the table; there are: {', '.join(table.relations)}")
    return table.relations[relation]


def _item(items: Sequence[str], index: int, what: str) -> str:
    if not -len(items) <= index < len(items):
        raise ValueError(f"there is no {what} with number {index}: there are {len(items)}")
    return items[index]
