"""F4–F6: reading the answer off the residual stream on the name's last token, by weights alone or by a trained probe.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Head
from oneway.engine import Engine, Logits, Patch, Site
from oneway.engine.workloads import residuals
from oneway.evidence.estimate import Estimate, over_facts, over_seeds
from oneway.models.decoder import Decoder

SPLITS, TEST, FOLDS = 10, 0.2, 5


def answer_directions(engine: Engine, asked: Asked) -> Float[Tensor, "d_model answer"]:
    """What raises each answer's score in the last residual stream, at a fixed scale of the final norm.

    The final norm's weight times the answers' columns of W_U, centred over d_model where the norm centres.
    """
    weights = engine.weights
    columns = weights.ln_f_w[:, None] * weights.W_U[:, asked.answers.to(engine.device)]
    return columns - columns.mean(0) if engine.form.norm == "layer" else columns


def read_directions(engine: Engine, asked: Asked, head: Head) -> Float[Tensor, "d_model answer"]:
    """F4: the mechanistic probe: what a head moves from where it looks to the answers' scores, W_V W_O D.

    D are the `answer_directions`. It reads the normed residual stream, see `normed`.
    """
    layer, number = head
    return engine.weights.blocks[layer].ov(number) @ answer_directions(engine, asked)


def normed(engine: Engine, layer: int, resid: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
    """The residual stream as attention of a layer reads it."""
    block, form = engine.weights.blocks[layer], engine.form
    return norm(resid, block.ln1_w, block.ln1_b, form)


def norm(resid: Tensor, weight: Tensor, bias: Tensor | None, form: Decoder) -> Tensor:
    """A model's own norm."""
    if form.norm == "layer":
        return functional.layer_norm(resid, resid.shape[-1:], weight, bias, form.epsilon)
    return functional.rms_norm(resid, resid.shape[-1:], weight, form.epsilon)


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """What a probe says of every fact: scores of the answers, and whether the highest is the right one."""

    scores: Float[Tensor, "fact answer"]
    right: Int[Tensor, " fact"]

    @property
    def accuracy(self) -> Estimate:
        """The share of facts whose highest score is the right answer's."""
        return over_facts((self.scores.argmax(1) == self.right).double().numpy(), "probability")


def chance(right: Int[Tensor, " fact"]) -> float:
    """The accuracy of always saying the most frequent answer."""
    return float(right.bincount().max() / len(right))


def mechanistic_probe(engine: Engine, asked: Asked, head: Head) -> Probed:
    """F4: the answer read off the name's last token by the weights of one head and the unembedding, nothing trained.

    Scores are centred over the facts, without their answers: what the rest of the model adds to each answer whatever
    the name is no part of the probe. Claim: it is as accurate as the model.
    """
    at = Site("resid_pre", head[0], position=asked.final)
    resid = engine.run(asked.tokens, [at])[at]
    scores = normed(engine, head[0], resid) @ read_directions(engine, asked, head)
    return Probed((scores - scores.mean(0)).cpu(), asked.right)


@dataclass(frozen=True, slots=True)
class BestHead:
    """The head whose mechanistic probe is best on one half of the facts, and how good it is on the other half."""

    head: Head
    chosen_at: float
    held_out: Estimate


def best_head(engine: Engine, asked: Asked, *, seed: int = 0) -> BestHead:
    """F4: a search over every head's probe, guarded: chosen on a random half of the facts, judged on the other."""
    half = torch.from_numpy(np.random.default_rng(seed).permutation(len(asked)))
    choosing, judging = half[: len(half) // 2], half[len(half) // 2 :]
    found: dict[Head, Probed] = {
        (layer, head): mechanistic_probe(engine, asked, (layer, head))
        for layer in range(engine.layers)
        for head in range(engine.form.heads)
    }
    hits = {head: (one.scores.argmax(1) == one.right).double() for head, one in found.items()}
    best = max(hits, key=lambda head: float(hits[head][choosing].mean()))
    return BestHead(
        best, float(hits[best][choosing].mean()), over_facts(hits[best][judging].numpy(), "probability")
    )


def trained_probe(
    features: Float[Tensor, "fact d_model"],
    right: Int[Tensor, " fact"],
    *,
    tested_on: Float[Tensor, "fact d_model"] | None = None,
    splits: int = SPLITS,
    seed: int = 0,
) -> Estimate:
    """Accuracy of a logistic regression on held-out facts: the mean over random splits, 80% to train on.

    `tested_on`: other features of the same facts, which the held-out ones are judged by. The interval is over splits:
    how much the split matters, not an interval over other facts.
    """
    x, y = features.double().cpu().numpy(), right.cpu().numpy()
    other = x if tested_on is None else tested_on.double().cpu().numpy()
    scores = []
    for train, test in StratifiedShuffleSplit(splits, test_size=TEST, random_state=seed).split(x, y):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        probe.fit(x[train], y[train])
        scores.append(float((probe.predict(other[test]) == y[test]).mean()))
    return over_seeds(scores, "probability")


def held_out_hits(
    features: Float[Tensor, "fact d_model"],
    right: Int[Tensor, " fact"],
    *,
    tested_on: Float[Tensor, "fact d_model"] | None = None,
    seed: int = 0,
) -> Bool[np.ndarray, " fact"]:
    """Whether a logistic regression that has not seen a fact reads its answer: five folds, each judged by the others.

    What an interval over facts is of, where `trained_probe` has one over splits. `tested_on` as there. Answers that
    fewer than five facts have cannot stand in every fold; they are judged all the same.
    """
    x, y = features.double().cpu().numpy(), right.cpu().numpy()
    other = x if tested_on is None else tested_on.double().cpu().numpy()
    hits = np.zeros(len(y), dtype=bool)
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        probe.fit(x[train], y[train])
        hits[test] = probe.predict(other[test]) == y[test]
    return hits


def by_layer(
    engine: Engine, asked: Asked, *, position: int | None = None, splits: int = SPLITS, seed: int = 0
) -> pl.DataFrame:
    """F5: accuracy of a trained probe on the residual stream after every layer (-1: the embedding).

    At the name's last token unless a position is given. Claim: most of it is there early.
    """
    at = asked.final if position is None else position
    stream = streams(engine, asked.tokens, at)
    found = [trained_probe(one, asked.right, splits=splits, seed=seed) for one in stream]
    return _layers(found)


def without_context(engine: Engine, asked: Asked, *, splits: int = SPLITS, seed: int = 0) -> pl.DataFrame:
    """F6: the same on the name alone, behind what the tokenizer puts in front: a probe of its own, and the probe that
    was trained in context. Claim: little is lost.
    """
    alone, inside = streams(engine, asked.alone, -1), streams(engine, asked.tokens, asked.final)
    own = [trained_probe(one, asked.right, splits=splits, seed=seed) for one in alone]
    carried = [
        trained_probe(one, asked.right, tested_on=other, splits=splits, seed=seed)
        for one, other in zip(inside, alone, strict=True)
    ]
    return pl.concat(
        [
            _layers(own).with_columns(probe=pl.lit("own")),
            _layers(carried).with_columns(probe=pl.lit("in context")),
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Swapped:
    """What is answered when part of the residual stream is another fact's: its answer, the own one, or a third."""

    follows: Estimate
    keeps: Estimate


def subspace_patching(engine: Engine, asked: Asked, head: Head, *, seed: int = 0) -> dict[str, Swapped]:
    """F4: is what the probe reads what the model uses? The part of the residual stream on the name's last token that
    the probe reads is taken from a fact with another answer; the model should then give that one's answer.

    x + Q Qᵀ (x' − x), Q an orthonormal basis of the probe's directions (differences of answers, in the space that the
    norm reads). Beside it the whole stream, a random subspace of as many dimensions, and all but the probe's.
    """
    layer = head[0]
    at = Site("resid_pre", layer, position=asked.final)
    resid = engine.run(asked.tokens, [at])[at]
    source = asked.others(seed=seed)
    change = resid[source] - resid
    block = engine.weights.blocks[layer]
    read = block.ln1_w[:, None] * read_directions(engine, asked, head)
    read = read - read.mean(1, keepdim=True)
    if engine.form.norm == "layer":
        read = read - read.mean(0)
    left, values, _ = torch.linalg.svd(read, full_matrices=False)
    basis = left[:, values > 1e-6 * values[0]]
    drawn = torch.randn(basis.shape, generator=torch.Generator().manual_seed(seed)).to(basis)
    random = torch.linalg.qr(drawn)[0]
    kinds = {
        "probe": change @ basis @ basis.T,
        "all": change,
        "random": change @ random @ random.T,
        "all but probe": change - change @ basis @ basis.T,
    }
    patches = [Patch(at, resid + added) for added in kinds.values()]
    return swapped(engine, asked, patches, list(kinds), source)


def swapped(
    engine: Engine, asked: Asked, patches: Sequence[Patch], names: Sequence[str], source: Sequence[int]
) -> dict[str, Swapped]:
    """How often each patch makes the model give the answer of the fact that its values are from, and its own."""
    answers = Logits(answers=asked.answers.expand(len(asked), -1))
    said: Int[Tensor, "patch fact"] = engine.effects(asked.tokens, patches, answers).patched.argmax(-1).cpu()
    theirs = asked.right[list(source)]
    return {
        name: Swapped(
            over_facts((one == theirs).double().numpy(), "probability"),
            over_facts((one == asked.right).double().numpy(), "probability"),
        )
        for name, one in zip(names, said, strict=True)
    }


def streams(
    engine: Engine, tokens: Int[Tensor, "fact pos"], position: int
) -> list[Float[Tensor, "fact d_model"]]:
    """The embedding and the residual stream after every layer at a position."""
    embedded = Site("resid_pre", 0, position=position)
    first = engine.run(tokens, [embedded])[embedded]
    return [first, *residuals(engine, tokens, position).unbind(1)]


def _layers(found: Sequence[Estimate]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "layer": range(-1, len(found) - 1),
            "accuracy": [one.mean for one in found],
            "low": [one.low for one in found],
            "high": [one.high for one in found],
            "splits": [one.n for one in found],
        }
    )
