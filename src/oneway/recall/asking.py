"""Questions about facts become contexts and answers in tokens, ready for a scorer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from oneway.facts import Direction, Fact
from oneway.facts.rendering import ALL_DIRECTIONS, Question
from oneway.recall.candidates import Candidates, Chance, Pool, Pools
from oneway.recall.chat import INSTRUCTION, Mode
from oneway.recall.scorer import Tokens
from oneway.recall.spans import BOUNDARY, Split, Splitter

NO_CONTEXT = "nothing stands before the answer: the prompt is empty and the tokenizer puts no BOS in front"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """What is asked of each fact.

    All distinct answers of a relation and direction are candidates where there are at most `candidates`, else
    that many are drawn with `seed`; the right ones are always among them. `prefixes` are texts before the
    forward prompts of a relation (see `questions`). `chat` puts every question as a chat, in the tokenizer's own
    template: the prompt in the user's turn, or in the assistant's after the user's `chat_instruction` (see `Chat`).
    """

    candidates: int = 200
    seed: int = 0
    directions: tuple[Direction, ...] = ALL_DIRECTIONS
    prefixes: Mapping[str, Sequence[str]] | None = None
    chat: Mode = "off"
    chat_instruction: str = INSTRUCTION

    def __post_init__(self) -> None:
        """Raises ValueError where nothing would be asked."""
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {self.candidates}")
        if self.chat not in get_args(Mode):
            raise ValueError(f"chat is {self.chat!r}, but it is one of: {', '.join(get_args(Mode))}")
        if not self.directions:
            raise ValueError("no direction is asked: give at least one of forward, reverse, in_context")


@dataclass(slots=True)
class Ask:
    """One prompt, its candidates, what chance does, and the questions (one per fact) that ask it.

    `own[i]` is the place in the pool of the answer of `questions[i]`. Tokenization adds `splits`, the tokens
    of these own answers, and `first`, the place of this ask's first pair in the batch, whose pairs follow
    `candidates.all`; or `skipped`, the reason why nothing is scored.
    """

    pool: Pool
    candidates: Candidates
    chance: Chance
    questions: list[Question] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    first: int = -1
    skipped: str = ""

    @property
    def prompt(self) -> str:
        return self.questions[0].prompt

    def answer(self, place: int | np.integer) -> str:
        """The text of a candidate as it follows the prompt."""
        return self.questions[0].answer_with(self.pool.names[int(place)])


@dataclass(slots=True)
class Batch:
    """What a scorer is asked (see `Scorer.score`), and the longest text that it may read."""

    max_positions: int | None
    contexts: list[Tokens] = field(default_factory=list)
    answers: list[Tokens] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)
    size: int = 0

    @property
    def pairs(self) -> np.ndarray:
        return np.concatenate(self.blocks) if self.blocks else np.empty((0, 2), dtype=np.int64)

    def add(self, ask: Ask, contexts: np.ndarray, answers: np.ndarray, longest: int) -> None:
        """Add an ask's pairs, given as places in `contexts` and `answers`; `longest` is in tokens.

        The last token of an answer is never read by the model.
        """
        if self.max_positions is not None and longest - 1 > self.max_positions:
            ask.skipped = (
                f"the prompt with its longest candidate has {longest} tokens, "
                f"more than the model's {self.max_positions} positions"
            )
            return
        ask.first = self.size
        self.blocks.append(np.stack([contexts, answers], axis=1))
        self.size += len(answers)


def gather(
    questions: Iterable[Question], facts: Sequence[Fact], pools: Pools, config: AuditConfig
) -> list[Ask]:
    """Questions with the same prompt and the same right answers become one ask.

    `facts` are those that `fact_index` counts. In context, the stated subject alone is right. A question in
    reverse and one in context draw the same candidates.
    """
    asks: dict[tuple[object, ...], Ask] = {}
    for question in questions:
        fact, direction = facts[question.fact_index], question.direction
        asked = "object" if direction is Direction.FORWARD else "subject"
        pool = pools.of(question.relation, direction)
        own = pool.place[getattr(fact, asked)]
        only = own if direction is Direction.IN_CONTEXT else None
        key = (question.relation, direction, question.template_index, question.given, only)
        if key not in asks:
            right = pools.right(question.relation, direction, question.given)
            name = "\0".join((question.relation, asked, question.given))
            candidates = pool.candidates(right, config.candidates, (config.seed, name), only=only)
            asks[key] = Ask(pool, candidates, pool.chance(right, question.given, only=only))
        asks[key].questions.append(question)
        asks[key].own.append(own)
    return list(asks.values())


def tokenize(asks: Sequence[Ask], splitter: Splitter, max_positions: int | None) -> Batch:
    """Split every ask into tokens; what cannot be scored is marked with the reason.

    Each question's own answer is split exactly, from the whole text. The candidates' tokens are taken from
    the prompt's last word with the answer, once for all prompts that end in that word, where the tokenizer has
    no token that reaches over a space, and the own answers and a wrong candidate show that this gives the
    same; elsewhere each whole text is split.
    """
    batch = Batch(max_positions)
    checks = _split_exactly(asks, splitter)
    groups: dict[tuple[int, str], list[Ask]] = {}
    whole: list[Ask] = []
    for ask in asks:
        word = "" if splitter.reaches_over_spaces else _closing_word(ask)
        if not ask.splits[0].context:
            ask.skipped = NO_CONTEXT
        elif word:
            groups.setdefault((id(ask.pool), word), []).append(ask)
        else:
            whole.append(ask)
    whole += _add_by_word(batch, groups, splitter, checks)
    _add_whole(batch, whole, splitter)
    return batch


def _split_exactly(asks: Sequence[Ask], splitter: Splitter) -> dict[int, list[tuple[int, Split]]]:
    """Split each question's own answer and a wrong candidate of each ask: by the ask's id, (place, split)."""
    checked = [[*ask.own, *ask.candidates.wrong[:1].tolist()] for ask in asks]
    splits = iter(
        splitter.split(
            [ask.prompt for ask, places in zip(asks, checked, strict=True) for _ in places],
            [ask.answer(place) for ask, places in zip(asks, checked, strict=True) for place in places],
        )
    )
    found: dict[int, list[tuple[int, Split]]] = {}
    for ask, places in zip(asks, checked, strict=True):
        found[id(ask)] = [(place, next(splits)) for place in places]
        ask.splits = [split for _, split in found[id(ask)][: len(ask.own)]]
    return found


def _closing_word(ask: Ask) -> str:
    """The prompt's last word where the answers follow it after one space, else nothing."""
    prompt, answer = ask.prompt, ask.questions[0].answer
    if not prompt or prompt[-1].isspace() or not answer.startswith(" ") or answer[1:2].isspace():
        return ""
    return prompt.split()[-1]


def _add_by_word(
    batch: Batch,
    groups: dict[tuple[int, str], list[Ask]],
    splitter: Splitter,
    checks: dict[int, list[tuple[int, Split]]],
) -> list[Ask]:
    """Add the asks of each (pool, last word); returns those whose exact splits differ."""
    places = [np.unique(np.concatenate([ask.candidates.all for ask in group])) for group in groups.values()]
    words: list[str] = []
    texts: list[str] = []
    for (_, word), group, needed in zip(groups, groups.values(), places, strict=True):
        words += [word] * len(needed)
        texts += [f" {group[0].pool.names[place]}" for place in needed]
    answers = splitter.after_words(words, texts)
    differ: list[Ask] = []
    start = 0
    for group, needed in zip(groups.values(), places, strict=True):
        tokens = answers[start : start + len(needed)]
        start += len(needed)
        lengths = np.array([0 if found is None else len(found) for found in tokens])
        # An answer without tokens is not added: the places of those behind it move up.
        added = len(batch.answers) + np.cumsum(lengths > 0) - 1
        batch.answers += [found for found in tokens if found]
        for ask in group:
            context = ask.splits[0].context
            at = np.searchsorted(needed, ask.candidates.all)
            alike = all(
                split.context == context
                and BOUNDARY not in split.flags
                and split.answer == tokens[np.searchsorted(needed, place)]
                for place, split in checks[id(ask)]
            )
            if not alike or not lengths[at].all():
                differ.append(ask)
                continue
            batch.contexts.append(context)
            contexts = np.full(len(at), len(batch.contexts) - 1)
            batch.add(ask, contexts, added[at], len(context) + int(lengths[at].max()))
    return differ


def _add_whole(batch: Batch, asks: Sequence[Ask], splitter: Splitter) -> None:
    """Add asks whose every candidate is split from its whole text."""
    sizes = [len(ask.candidates.all) for ask in asks]
    splits = splitter.split(
        [ask.prompt for ask, size in zip(asks, sizes, strict=True) for _ in range(size)],
        [ask.answer(place) for ask in asks for place in ask.candidates.all],
    )
    start = 0
    for ask, size in zip(asks, sizes, strict=True):
        found = splits[start : start + size]
        start += size
        if not all(split.context for split in found):
            ask.skipped = NO_CONTEXT
            continue
        if not all(split.answer for split in found):
            wordless = next(place for place, s in zip(ask.candidates.all, found, strict=True) if not s.answer)
            ask.skipped = f"the answer {ask.answer(wordless)!r} has no tokens after this prompt"
            continue
        contexts = np.arange(len(batch.contexts), len(batch.contexts) + size)
        answers = np.arange(len(batch.answers), len(batch.answers) + size)
        batch.contexts += [split.context for split in found]
        batch.answers += [split.answer for split in found]
        batch.add(ask, contexts, answers, max(len(split.context) + len(split.answer) for split in found))
