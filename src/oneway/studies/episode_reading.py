"""What models say at the end of episodes, and which of their heads copy: what the curves of `in-context` hold."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from oneway.facts.symbolic_episodes import LEFT, RIGHT, STATED_X, Crossed, Known, asked, stated

if TYPE_CHECKING:
    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights


def logprobs_of(weights: "Weights", a: "Architecture", sentences: np.ndarray) -> np.ndarray:
    """ln p of every token at the end of every sequence: [seed sentence 7] → [seed sentence vocab]."""
    import torch

    from oneway.models.transformer import residual_at_end, unembed

    with torch.no_grad():
        resid = residual_at_end(weights, torch.from_numpy(sentences[:, :, :-1]), a, 1)
        found: np.ndarray = unembed(weights, resid[:, :, 0], a).log_softmax(-1).numpy()
    return found


def _of_answers(logprobs: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.take_along_axis(logprobs, sentences[:, :, -1:], -1)[..., 0]
    return found


def read_crossed(weights: "Weights", a: "Architecture", worlds: Sequence[Crossed]) -> dict[str, np.ndarray]:
    """NLL of trained and held-out episodes, and the share of these whose likeliest answer is right, per seed."""
    train, validation = (np.stack([getattr(w, n) for w in worlds]) for n in ("train", "validation"))
    logprobs = logprobs_of(weights, a, validation)
    nll = -_of_answers(logprobs, validation).mean(1)
    return {
        "train_nll": -_of_answers(logprobs_of(weights, a, train), train).mean(1),
        "validation_nll": nll,
        "validation_excess": nll - np.log(worlds[0].vocabulary_size),
        "validation_right": (logprobs.argmax(-1) == validation[:, :, -1]).mean(1),
    }


def read_heads(weights: "Weights", a: "Architecture", worlds: Sequence[Crossed]) -> dict[str, np.ndarray]:
    """Attention from the last position to x of every head, and the fall of p(answer) without it, per seed.

    `agreement`: 1 where the head of the greatest attention is that of the greatest fall.
    """
    import torch

    from oneway.studies.heads import heads_of, without_head

    validation = np.stack([w.validation for w in worlds])
    with torch.no_grad():
        heads = heads_of(weights, torch.from_numpy(validation[:, :, :-1]), a)
        attention = heads.pattern[..., -1, STATED_X].mean(-1).flatten(1).numpy()
        whole = np.exp(_of_answers(logprobs_of(weights, a, validation), validation)).mean(1)
        falls = []
        for layer in range(a.layers):
            for head in range(a.heads):
                ablated = without_head(weights, a, heads, layer, head)
                left = np.exp(_of_answers(logprobs_of(ablated, a, validation), validation)).mean(1)
                falls.append(whole - left)
    return head_summary(attention, np.stack(falls, 1))


def head_summary(attention: np.ndarray, fall: np.ndarray) -> dict[str, np.ndarray]:
    """What is said of the heads, from attention to x and falls [seed head]."""
    seeds, count = attention.shape
    top = attention.argmax(1)
    top_fall = fall[np.arange(seeds), top]
    others = (fall.sum(1) - top_fall) / max(1, count - 1)
    summary = {
        "agreement": (top == fall.argmax(1)).astype(float),
        "agreement_by_chance": np.full(seeds, 1 / count),
        "top_attention": attention.max(1),
        "top_fall": top_fall,
        "fall_beyond_others": top_fall - others,
    }
    if count > 1:
        each = zip(attention, fall, strict=True)
        summary["attention_fall_correlation"] = np.array([np.corrcoef(a, f)[0, 1] for a, f in each])
    summary |= {f"attention.{h}": attention[:, h] for h in range(count)}
    return summary | {f"fall.{h}": fall[:, h] for h in range(count)}


def read_known(weights: "Weights", a: "Architecture", worlds: Sequence[Known]) -> dict[str, np.ndarray]:
    """Shares of likeliest answers, per seed: recalled without a statement, and read with one.

    Chance is that of a guesser who knows which x's have no reverse of their own: those of facts known forward only.
    Conflicts and unknown pairs are episodes that no training could state, one y_j with the first x_i that is left.
    """
    n = worlds[0].each
    both, one_way, free = (slice(i * n, (i + 1) * n) for i in range(3))

    def said(sentences: Callable[[Known], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        asked_of = np.stack([sentences(world) for world in worlds])
        return logprobs_of(weights, a, asked_of).argmax(-1), asked_of[:, :, -1]

    def right(sentences: Callable[[Known], np.ndarray]) -> np.ndarray:
        share: np.ndarray = np.equal(*said(sentences)).mean(1)
        return share

    conflict, followed = said(partial(_re_paired, part=both))
    true = np.stack([world.x[both] for world in worlds])
    return {
        "recalled": right(lambda w: asked(w.y[both], LEFT, w.x[both])),
        "forward": right(lambda w: asked(w.x[one_way], RIGHT, w.y[one_way])),
        "one_way_over_chance": right(lambda w: asked(w.y[one_way], LEFT, w.x[one_way])) - 1 / n,
        "one_way_in_context": right(lambda w: stated(w.x[one_way], w.y[one_way])),
        "true_follows_context": right(lambda w: stated(w.x[both], w.y[both])),
        "unknown_follows_context": right(partial(_re_paired, part=free)),
        "conflict_follows_context": (conflict == followed).mean(1),
        "conflict_follows_memory": (conflict == true).mean(1),
        "less_followed": right(partial(_re_paired, part=free)) - (conflict == followed).mean(1),
    }


def _re_paired(world: Known, part: slice) -> np.ndarray:
    """Each y of this kind stated with another x of this kind than its own, never so in training where one is left."""
    places = np.arange(len(world.x))[part]
    left = world.held_out(part, part)
    chosen = []
    for turn, j in enumerate(places):
        xs = left[left[:, 1] == j, 0]
        chosen.append(xs[turn % len(xs)] if len(xs) else places[(turn + 1) % len(places)])
    return stated(world.x[np.array(chosen)], world.y[part])
