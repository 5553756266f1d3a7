"""Questions to stacked models of one world per seed, in the way a remedy answers: next word, masks, names or search."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from oneway.facts import Direction, Trained, questions
from oneway.models.architecture import Architecture
from oneway.models.transformer import Weights, logits
from oneway.studies.remedy_worlds import World
from oneway.training.remedies.lesson import words_of
from oneway.training.remedies.objectives import states_at
from oneway.training.remedies.remedy import Answering
from oneway.training.remedies.rows import MASKED, PAD, Words
from oneway.training.remedies.sentences import IS, with_own_words

AT_ONCE = 1000  # texts per seed in one pass


class Asked(NamedTuple):
    """Questions of every seed, equally many by repeating the first; all answers have equally many words.

    `right` is the place of the answer among the candidates, all names that any fact has in its place; `given` that of
    the name asked about among the `others`, all names that stand on the other side of the facts.
    """

    prompts: Int[np.ndarray, "seed question pos"]
    lengths: Int[np.ndarray, "seed question"]
    candidates: Int[np.ndarray, "seed candidate word"]
    right: Int[np.ndarray, "seed question"]
    others: Int[np.ndarray, "seed other other_word"]
    given: Int[np.ndarray, "seed question"]

    @property
    def answers(self) -> Int[np.ndarray, "seed question word"]:
        return np.take_along_axis(self.candidates, self.right[..., None], 1)


class Answered(NamedTuple):
    """Which questions are answered, over the whole vocabulary and among the candidates."""

    whole: Bool[Tensor, "seed question"]
    among: Bool[Tensor, "seed question"]


def asked(
    worlds: Sequence[World], words: Sequence[Words], split: Trained | None, direction: Direction
) -> Asked:
    """The questions of all facts of a split, or of the table.

    Raises ValueError where answers have different numbers of words.
    """
    prompts, candidates, right, others, given = [], [], [], [], []
    for world, ids in zip(worlds, words, strict=True):
        sides = ("object", "subject") if direction is Direction.FORWARD else ("subject", "object")
        known = list(dict.fromkeys(getattr(fact, sides[1]) for fact in world.table))
        others.append([ids(words_of(name)) for name in known])
        side = sides[0]
        names = list(dict.fromkeys(getattr(fact, side) for fact in world.table))
        candidates.append([ids(words_of(name)) for name in names])
        put = list(questions(world.table.select(split=split), (direction,)))
        prompts.append([ids(words_of(question.prompt)) for question in put])
        right.append([names.index(question.answer.strip()) for question in put])
        given.append([known.index(question.given) for question in put])
    if len({len(name) for own in candidates for name in own}) != 1:
        raise ValueError("answers of different numbers of words cannot be compared")
    most, longest = max(map(len, prompts)), max(len(one) for own in prompts for one in own)
    tokens = np.full((len(prompts), most, longest), PAD, dtype=np.int64)
    lengths, places, about = (np.zeros(tokens.shape[:2], dtype=np.int64) for _ in range(3))
    for seed, own in enumerate(prompts):
        for question in range(most):
            at = question if question < len(own) else 0
            tokens[seed, question, : len(own[at])] = own[at]
            lengths[seed, question] = len(own[at])
            places[seed, question], about[seed, question] = right[seed][at], given[seed][at]
    return Asked(tokens, lengths, np.array(candidates), places, np.array(others), about)


def answered(weights: Weights, shape: Architecture, one: Asked, answering: Answering) -> Answered:
    """What the models answer.

    "next word": greedily, and by the log-probability of every candidate. "both sides": as many masks as the answer
    has words behind the prompt, the surest filled in first; candidates by the masks' log-probabilities before any is
    filled in. "concepts": the nearest name, of all candidates or of all names. ("search" and "linked" are more than
    one question: see `searched` and `linked`.)
    """
    if answering == "concepts":
        return _nearest(weights, shape, one)
    if answering == "both sides":
        return _restored(weights, shape, one)
    said = scores(weights, shape, *_with(one, one.answers)).argmax(-1)
    whole = (said == torch.from_numpy(one.answers)).all(-1)
    return Answered(whole, candidate_logprobs(weights, shape, one).argmax(-1) == torch.from_numpy(one.right))


def candidate_logprobs(
    weights: Weights, shape: Architecture, one: Asked
) -> Float[Tensor, "seed question candidate"]:
    """ln p of every candidate behind every prompt, in nats."""
    seeds, count, width = one.candidates.shape
    if width == 1:  # one look tells all candidates
        logprobs = scores(weights, shape, *_with(one, one.answers))[:, :, 0].log_softmax(-1)
        columns = torch.from_numpy(one.candidates[..., 0])[:, None].expand(-1, logprobs.shape[1], -1)
        return logprobs.gather(-1, columns)
    found = []
    for question in range(one.prompts.shape[1]):
        same = Asked(
            np.repeat(one.prompts[:, question : question + 1], count, 1),
            np.repeat(one.lengths[:, question : question + 1], count, 1),
            one.candidates,
            np.tile(np.arange(count), (seeds, 1)),
            one.others,
            np.repeat(one.given[:, question : question + 1], count, 1),
        )
        logprobs = scores(weights, shape, *_with(same, one.candidates)).log_softmax(-1)
        found.append(logprobs.gather(-1, torch.from_numpy(one.candidates)[..., None])[..., 0].sum(-1))
    return torch.stack(found, 1)


def searched(
    weights: Weights, shape: Architecture, worlds: Sequence[World], words: Sequence[Words]
) -> Answered:
    """R11, of the facts that are told forward only: every subject states its object, then the object is looked for.

    Over the whole vocabulary the right subject's greedy statement must be the object and nobody else's; among the
    candidates whoever gives the object the highest probability is taken.
    """
    forward = asked(worlds, words, None, Direction.FORWARD)
    said = scores(weights, shape, *_with(forward, forward.answers)).argmax(-1)
    names = [list(dict.fromkeys(fact.object for fact in world.table)) for world in worlds]
    wanted = [[own.index(f.object) for f in w.held_out] for own, w in zip(names, worlds, strict=True)]
    given = torch.tensor(wanted)
    objects = torch.from_numpy(np.take_along_axis(forward.candidates, given.numpy()[..., None], 1))
    states = (said[:, None] == objects[:, :, None]).all(-1)  # [seed object statement]
    own = torch.from_numpy(forward.right)[:, None] == given[:, :, None]
    by_object = candidate_logprobs(weights, shape, forward).mT.gather(
        1, given[..., None].expand(-1, -1, own.shape[2])
    )
    best = by_object.argmax(-1, keepdim=True)
    return Answered((states == own).all(-1), own.gather(-1, best)[..., 0])


def linked(
    weights: Weights,
    shape: Architecture,
    worlds: Sequence[World],
    words: Sequence[Words],
    split: Trained | None,
    direction: Direction,
) -> Answered:
    """R7 with own words: greedily the word of the name that is given, the word that answers, and that word's name.

    Every step starts from what the model said in the one before. Among the candidates the second step is restricted to
    the words of names that any fact has in that place.
    """
    plain = asked(worlds, words, split, direction)
    own = asked([replace(w, table=with_own_words(w.table)) for w in worlds], words, split, direction)
    equals = torch.tensor([ids([IS]) for ids in words])[:, None].expand(-1, plain.right.shape[1], -1)

    def after(text: Tensor, length: Tensor | int) -> Tensor:
        at = torch.as_tensor(length).expand(text.shape[:2])[..., None] - 1
        return scores(weights, shape, text, at)[:, :, 0]

    seed = np.arange(len(worlds))[:, None]
    name, sign = (torch.from_numpy(one.others[seed, one.given]) for one in (plain, own))
    said = after(torch.cat([name, equals], -1), name.shape[2] + 1).argmax(-1, keepdim=True)
    prompts = torch.from_numpy(own.prompts)
    answers = after(torch.where(prompts == sign, said, prompts), torch.from_numpy(own.lengths))
    found = answers.argmax(-1, keepdim=True)
    text = torch.cat([found, equals, torch.from_numpy(plain.answers)], -1)
    at = torch.arange(1, text.shape[2] - 1).expand(*text.shape[:2], -1)
    told = scores(weights, shape, text, at).argmax(-1)
    columns = torch.from_numpy(own.candidates[..., 0])[:, None].expand(-1, answers.shape[1], -1)
    among = answers.gather(-1, columns).argmax(-1) == torch.from_numpy(own.right)
    return Answered((told == torch.from_numpy(plain.answers)).all(-1), among)


def scores(
    weights: Weights,
    shape: Architecture,
    texts: Int[Tensor, "seed text pos"],
    places: Int[Tensor, "seed text word"],
) -> Float[Tensor, "seed text word vocab"]:
    """Logits at the given positions of every text."""
    found = []
    with torch.no_grad():
        for part, at in zip(texts.split(AT_ONCE, 1), places.split(AT_ONCE, 1), strict=True):
            every = logits(weights, part, shape)
            found.append(every.gather(2, at[..., None].expand(-1, -1, -1, shape.vocab)))
    return torch.cat(found, 1)


def _with(one: Asked, answers: Int[np.ndarray, "seed question word"]) -> tuple[Tensor, Tensor]:
    """Prompts followed by answers, and the positions from which the answers' words are foretold."""
    texts, at = _joined(one, answers)
    return texts, at - 1


def _joined(one: Asked, answers: Int[np.ndarray, "seed question word"]) -> tuple[Tensor, Tensor]:
    width = answers.shape[2]
    texts = np.concatenate([one.prompts, np.full((*one.prompts.shape[:2], width), PAD)], axis=2)
    at = one.lengths[..., None] + np.arange(width)
    np.put_along_axis(texts, at, answers, 2)
    return torch.from_numpy(texts), torch.from_numpy(at)


def _restored(weights: Weights, shape: Architecture, one: Asked) -> Answered:
    full = replace(shape, attention="full")
    texts, at = _joined(one, np.full_like(one.answers, MASKED))
    first = scores(weights, full, texts, at).log_softmax(-1)
    candidates = torch.from_numpy(one.candidates)[:, None].expand(-1, texts.shape[1], -1, -1)
    by_word = first[:, :, None].expand(-1, -1, candidates.shape[2], -1, -1).gather(-1, candidates[..., None])
    among = by_word[..., 0].sum(-1).argmax(-1) == torch.from_numpy(one.right)
    for _ in range(at.shape[2]):
        found = scores(weights, full, texts, at).softmax(-1)
        sure, word = found[..., PAD + 2 :].max(-1)  # neither padding nor a mask
        open_ = texts.gather(2, at) == MASKED
        pick = sure.masked_fill(~open_, -1.0).argmax(-1, keepdim=True)
        texts = texts.scatter(2, at.gather(2, pick), word.gather(2, pick) + PAD + 2)
    whole = (texts.gather(2, at) == torch.from_numpy(one.answers)).all(-1)
    return Answered(whole, among)


def _nearest(weights: Weights, shape: Architecture, one: Asked) -> Answered:
    """Among all names of either side, which is the whole vocabulary of names, or among the candidates."""
    with torch.no_grad():
        states = states_at(weights, shape, torch.from_numpy(one.prompts), torch.from_numpy(one.lengths - 1))
        vectors = []
        for names in (one.candidates, one.others):
            last = torch.full(names.shape[:2], names.shape[2] - 1)
            vectors.append(states_at(weights, shape, torch.from_numpy(names), last))
    right, among = torch.from_numpy(one.right), states @ vectors[0].mT
    whole = torch.cat([among, states @ vectors[1].mT], -1)
    return Answered(whole.argmax(-1) == right, among.argmax(-1) == right)
