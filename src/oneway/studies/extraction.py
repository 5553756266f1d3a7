"""Is a fact looked up at the end of a name and read from there by a head? Recall, the head and its probe, patching."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from oneway.engine import AllLogits, Engine, LogitDifference, Logits, Patch, Resample, Site
from oneway.engine.workloads import direct_effects
from oneway.facts import FactTable, forward_question


class Head(NamedTuple):
    """A head, and its share of the direct effects of all heads that raise the right answer."""

    layer: int
    head: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts of equally many tokens, where the name ends (`name`), and which of the `answers` is right.

    `other` is for each prompt one with another answer: what it is resampled from.
    """

    tokens: Int[Tensor, "fact pos"]
    name: int
    answers: Int[Tensor, " answer"]
    right: Int[Tensor, " fact"]
    other: Int[Tensor, " fact"]

    @property
    def last(self) -> int:
        return self.tokens.shape[1] - 1


def one_shot_prompts(engine: Engine, table: FactTable, relation: str, seed: int = 0) -> Prompts:
    """The facts of a relation asked with its first one-shot prefix and forward template.

    Raises ValueError where the prompts or the names have different numbers of tokens, or answers begin alike.
    """
    assert engine.tokenizer is not None
    words, facts = table.relations[relation], table.select(relation=relation).facts
    asked = [forward_question(words, fact, prefix=words.one_shot[0]) for fact in facts]
    tokens = engine.tokens([question.prompt for question in asked])
    ends = engine.tokens([words.one_shot[0] + fact.subject for fact in facts])
    if not (tokens[:, : ends.shape[1]] == ends).all():
        raise ValueError(f"the prompts of {relation} do not begin with its prefix and the names")
    labels = sorted({question.answer for question in asked})
    first = [engine.tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in labels]
    if len(set(first)) < max(2, len(labels)):
        raise ValueError(f"the answers of {relation} cannot be told apart by their first token: {labels[:5]}")
    right = np.array([labels.index(question.answer) for question in asked])
    rng = np.random.default_rng(seed)
    other = [int(rng.choice(np.flatnonzero(right != own))) for own in right]
    return Prompts(
        tokens, ends.shape[1] - 1, torch.tensor(first), torch.from_numpy(right), torch.tensor(other)
    )


def probability(engine: Engine, prompts: Prompts) -> Float[np.ndarray, " fact"]:
    """The probability of the right answer's first token over the whole vocabulary."""
    scores = engine.effects(prompts.tokens, [], AllLogits()).clean.softmax(-1).cpu()
    found = scores.gather(1, prompts.answers[prompts.right][:, None])[:, 0]
    return np.asarray(found.double().numpy())


def extracting_head(engine: Engine, prompts: Prompts) -> Head:
    """The head whose output on the direct path to the scores says most of the answer.

    Its output at the last position is resampled from a prompt with another answer, and log-odds of the two answers
    are read. Source: Fact Finding, post 2 (F1).
    """
    right, wrong = (prompts.answers[prompts.right[rows]] for rows in (slice(None), prompts.other))
    measure = LogitDifference(right=right, wrong=wrong, position=prompts.last)
    found = direct_effects(engine, prompts.tokens, measure, Resample(prompts.other.tolist()))
    lost = (found.clean - found.heads).mean(2)
    layer, head = divmod(int(lost.argmax()), lost.shape[1])
    return Head(layer, head, float(lost.max() / lost.clamp_min(0).sum()))


def probe(engine: Engine, prompts: Prompts, layer: int, head: int) -> Bool[np.ndarray, " fact"]:
    """Whether a head says the right answer when it attends to nothing but the end of the name.

    scores = center(LN(resid) W_V W_O) · diag(ln_f.w) W_U[:, answers], less their mean over the facts, which holds
    whatever is said of everybody; LN is that of the layer. Nothing is fitted. Source: Fact Finding, post 2 (F4).
    """
    weights = engine.weights
    site = Site("v", layer, head // engine.form.group, prompts.name)
    written = engine.run(prompts.tokens, [site])[site] @ weights.blocks[layer].W_O[head]
    written = written - written.mean(-1, keepdim=True) if engine.form.norm == "layer" else written
    scores = (written * weights.ln_f_w) @ weights.W_U[:, prompts.answers.to(written.device)]
    said = (scores - scores.mean(0)).argmax(1).cpu()
    return np.asarray((said == prompts.right).numpy())


def moved(engine: Engine, prompts: Prompts) -> Bool[np.ndarray, "layer fact"]:
    """Whether the answer is the other prompt's when the end of the name has its residual stream, after each layer.

    An answer is the likeliest of the `answers`.
    """
    measure = Logits(answers=prompts.answers.expand(len(prompts.tokens), -1), position=prompts.last)
    patches = [
        Patch(Site("resid_post", layer, position=prompts.name), Resample(prompts.other.tolist()))
        for layer in range(engine.layers)
    ]
    said = engine.effects(prompts.tokens, patches, measure).patched.argmax(2).cpu()
    return np.asarray((said == prompts.right[prompts.other]).numpy())
