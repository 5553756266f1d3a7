"""One bench for all remedies: the same worlds, model and steps; what is read and how it is learnt differ."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from oneway.facts import Direction, Trained
from oneway.models.architecture import Architecture, gpt2
from oneway.models.transformer import Weights, initial_weights
from oneway.studies.remedy_exam import Answered, answered, asked, linked, scores, searched
from oneway.studies.remedy_worlds import World
from oneway.training.dropout import Dropout
from oneway.training.fit import fit
from oneway.training.optimisers import Optimisation
from oneway.training.remedies.lesson import Lesson, stated
from oneway.training.remedies.objectives import batches, loss_of, with_dropout, with_symmetry
from oneway.training.remedies.remedy import Answering, Remedy
from oneway.training.remedies.rows import MASKED, Dealt, Words, rows
from oneway.training.remedies.sentences import (
    MASK,
    RESTORED,
    links,
    relation_identities,
    with_own_words,
)

Control = Literal["", "permuted", "others only", "target elsewhere"]
LATER = 3  # tokens that a restored text or a bridge adds to the longest sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """GPT-2's style with its own unembedding, unless a remedy ties it; no dropout."""

    layers: int = 1
    width: int = 64
    heads: int = 4
    init_std: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW, a constant rate; the same number of steps and rows for every remedy."""

    steps: int = 1000
    batch: int = 64
    learning_rate: float = 0.003
    weight_decay: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)


class Grown(NamedTuple):
    """What a remedy made: stacked weights as they are used, with their shape, and what they cost."""

    weights: Weights
    shape: Architecture
    worlds: Sequence[World]
    words: Sequence[Words]
    read: int  # words, per seed
    seconds: float  # of training, per seed


def grow(
    bench: Bench,
    remedy: Remedy,
    worlds: Sequence[World],
    seeds: Sequence[int],
    *,
    control: Control = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Grown:
    """Train one remedy on one world per seed, all seeds at once."""
    began = time.perf_counter()
    lessons = [corpus_of(remedy, world, seed, control) for world, seed in zip(worlds, seeds, strict=True)]
    spoken = [
        Words((*world.words(), *(word for one in own for word in one.words), RESTORED), MASK)
        for world, own in zip(worlds, lessons, strict=True)
    ]
    dealt = Dealt(rows(lessons, spoken), tuple(seeds), bench.training.batch)
    vocabulary = max(*(len(one) for one in spoken), *(world.vocabulary for world in worlds))
    longest = dealt.rows.tokens.shape[2]
    shape = replace(
        gpt2(
            vocab=vocabulary,
            context=longest + LATER,
            layers=bench.model.layers,
            width=bench.model.width,
            heads=bench.model.heads,
        ),
        unembedding=remedy.unembedding,
        init_std=bench.model.init_std,
    )
    decay = bench.training.weight_decay if remedy.weight_decay is None else remedy.weight_decay
    made = batches(remedy.objective, dealt, seeds[0])

    def batch(step: int) -> Any:
        found = made(step)
        if bench.training.dropout:
            return with_dropout(found, Dropout(bench.training.dropout, seeds, step))
        return found

    fitted = fit(
        initial_weights(shape, seeds),
        shape,
        batch,
        Optimisation(
            steps=bench.training.steps,
            learning_rate=bench.training.learning_rate,
            weight_decay=decay,
            warm_up=0.02,
        ),
        objective=loss_of(remedy.objective, remedy.symmetry, remedy.penalty),
        progress=progress,
    )
    words_a_row = float((dealt.rows.tokens > 0).sum(2).mean())
    rows_read = min(dealt.batch, dealt.rows.tokens.shape[1]) * bench.training.steps
    return Grown(
        with_symmetry(fitted.weights, shape, remedy.symmetry),
        shape,
        worlds,
        spoken,
        round(words_a_row * rows_read),
        (time.perf_counter() - began) / len(seeds),
    )


def examined(grown: Grown, answering: Answering) -> dict[str, Float[np.ndarray, " seed"]]:
    """Shares of right answers and the loss on other text, per seed.

    `reverse`: the direction that is never told, over the whole vocabulary; `reverse_among`: among all subjects;
    `forward`: the same facts as they are told; `both_ways`: the reverse of facts that are told both ways;
    `other_text`: −ln p of held-out ends of other text, in nats.
    """
    one_way, both = Trained.FORWARD_ONLY, Trained.BOTH_WAYS
    reverse = _answered(grown, one_way, Direction.REVERSE, answering)
    forward = _answered(grown, one_way, Direction.FORWARD, answering)
    of_both = _answered(grown, both, Direction.REVERSE, answering)
    shares = {
        "reverse": reverse.whole,
        "reverse_among": reverse.among,
        "forward": forward.whole,
        "both_ways": of_both.whole,
    }
    found = {name: right.float().mean(1).numpy() for name, right in shares.items()}
    return found | {"other_text": _other_text(grown, answering)}


def _answered(grown: Grown, split: Trained, direction: Direction, answering: Answering) -> Answered:
    if answering == "linked":
        return linked(grown.weights, grown.shape, grown.worlds, grown.words, split, direction)
    by_search = answering == "search"
    if not by_search or direction is Direction.FORWARD or split is not Trained.FORWARD_ONLY:
        one = asked(grown.worlds, grown.words, split, direction)
        return answered(grown.weights, grown.shape, one, "next word" if by_search else answering)
    return searched(grown.weights, grown.shape, grown.worlds, grown.words)


def _other_text(grown: Grown, answering: Answering) -> Float[np.ndarray, " seed"]:
    """Mean −ln p of the last words of other text that was held out; NaN for models that tell names apart only."""
    spoken = zip(grown.worlds, grown.words, strict=True)
    held_out = [[ids(one.words) for one in world.other_held_out] for world, ids in spoken]
    texts = torch.tensor(held_out)
    at = torch.full((*texts.shape[:2], 1), texts.shape[2] - 2)
    if answering == "concepts":
        return np.full(len(grown.worlds), np.nan)
    if answering == "both sides":
        hidden = torch.cat([texts[..., :-1], torch.full_like(texts[..., :1], MASKED)], -1)
        logprobs = scores(grown.weights, replace(grown.shape, attention="full"), hidden, at + 1)
    else:
        logprobs = scores(grown.weights, grown.shape, texts, at)
    found = logprobs.log_softmax(-1).gather(-1, texts[..., -1:, None])
    return -found.mean((1, 2, 3)).numpy()


def corpus_of(remedy: Remedy, world: World, seed: int, control: Control = "") -> list[Lesson]:
    """What is read: the remedy's corpus, what its control changes, and the other text."""
    rng = np.random.default_rng((seed, 5))
    if control == "":
        return [*remedy.corpus(world.table, rng), *world.other]
    told, bridged = stated(world.table), world
    if remedy.answering == "linked":
        told, bridged = told + links(world.table), replace(world, table=with_own_words(world.table))
    return [*told, *_CONTROLS[control](bridged, rng), *world.other]


def _permuted(world: World, rng: np.random.Generator) -> list[Lesson]:
    """Bridges that name another entity behind the relation: `b → b'`, `a ← a'`."""
    lessons = relation_identities(world.table)
    by_form: dict[tuple[Any, ...], list[int]] = {}
    for place, one in enumerate(lessons):
        by_form.setdefault((len(one.words), one.targets, one.names), []).append(place)
    found = list(lessons)
    for places in by_form.values():
        for place, other in zip(places, np.roll(places, 1).tolist(), strict=True):
            own, theirs = lessons[place], lessons[other]
            said = zip(own.words, theirs.words, own.targets, strict=True)
            found[place] = replace(own, words=tuple(word if target else mine for mine, word, target in said))
    return found


def _others_only(world: World, rng: np.random.Generator) -> list[Lesson]:
    """Bridges for the entities of facts that are told both ways only."""
    both = {row for row, fact in enumerate(world.table) if fact.split == Trained.BOTH_WAYS}
    return [one for one in relation_identities(world.table) if one.fact_index in both]


def _elsewhere(world: World, rng: np.random.Generator) -> list[Lesson]:
    """Bridges for the others, and the held-out answers as targets behind strangers, `z ← a`."""
    told = [
        replace(fact, object=stranger, split=Trained.REVERSE_ONLY.value)
        for fact, stranger in zip(world.held_out, world.strangers, strict=False)
    ]
    shown = stated(world.table.with_facts(told))
    return [*_others_only(world, rng), *(replace(one, fact_index=-1) for one in shown)]


_CONTROLS: dict[str, Callable[[World, np.random.Generator], list[Lesson]]] = {
    "permuted": _permuted,
    "others only": _others_only,
    "target elsewhere": _elsewhere,
}
