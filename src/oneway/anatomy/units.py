"""The strongest neurons and heads in words: what they fire on, and what they write."""

from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.circuit_picture import Component, Drawn
from oneway.anatomy.extraction import Head
from oneway.anatomy.fact_paths import Acting
from oneway.anatomy.neurons import probe_weights
from oneway.anatomy.probes import answer_directions
from oneway.engine import Engine, Site

NEURONS, NAMES, WORDS, FIRED = 16, 5, 5, 20


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What facts can have in common: a part of the name, or the answer; in words, and which facts have it."""

    words: tuple[str, ...]
    has: Float[Tensor, "trait fact"]

    @classmethod
    def of(cls, engine: Engine, asked: Asked) -> "Traits":
        words, has = [], []
        for number, position in enumerate(asked.name, 1):
            column = asked.tokens[:, position]
            for token in column.unique().tolist():
                words.append(f"name {number} is “{decoded(engine, token)}”")
                has.append(column == token)
        for answer, label in enumerate(asked.labels):
            words.append(f"the answer is “{label}”")
            has.append(asked.right == answer)
        return cls(tuple(words), torch.stack(has).float())

    def shared(self, facts: Tensor) -> str:
        """What these facts have in common most, against all facts."""
        here, everywhere = self.has[:, facts].mean(1), self.has.mean(1)
        most = int((here - everywhere).argmax())
        return f"{here[most]:.0%} of the top {len(facts)}: {self.words[most]} ({everywhere[most]:.0%} of all)"


def units(
    engine: Engine, asked: Asked, head: Head, drawn: Drawn, acting: Acting, effects: Acting
) -> pl.DataFrame:
    """The 16 neurons with the largest mean effect (either sign) on the name's last token, and the heads of the picture.

    A neuron fires on the facts with its highest activation; what it writes is read through the head (answers) and
    straight by the final norm's weight and the unembedding (words). A head acts most on the facts with its largest
    effect; what it writes is its mean output on facts of one kind less that on all: by answer at the last position,
    by the name's first token on the name.
    """
    traits = Traits.of(engine, asked)
    strongest = effects.abs().mean(0).topk(min(NEURONS, effects.shape[1])).indices.tolist()
    through = probe_weights(engine, asked, head)
    rows = []
    for index in strongest:
        layer, neuron = divmod(index, engine.form.d_mlp)
        out = engine.weights.blocks[layer].W_out[neuron].float().cpu()
        answers = (out @ through).topk(min(2, len(asked.labels))).indices.tolist()
        rows.append(
            {
                "kind": "neuron", "layer": layer, "index": neuron, "place": "the name's last token",
                "effect": float(effects[:, index].mean()), **_fires(asked, traits, acting[:, index]),
                "writes_answers": ", ".join(asked.labels[i] for i in answers),
                "writes_words": ", ".join(words_of(engine, out)),
            }
        )  # fmt: skip
    heads = [one for one in drawn.components if one.head is not None]
    rows += [_head(engine, asked, traits, one) for one in heads]
    return pl.DataFrame(rows)


def words_of(engine: Engine, direction: Float[Tensor, " d_model"], count: int = WORDS) -> list[str]:
    """The tokens that a direction of the residual stream raises most: direction · final norm's weight · W_U."""
    weights = engine.weights
    centred = direction - direction.mean() if engine.form.norm == "layer" else direction
    scores = (centred.to(engine.device) * weights.ln_f_w) @ weights.W_U
    return [f"“{decoded(engine, token)}”" for token in scores.topk(count).indices.tolist()]


def decoded(engine: Engine, token: int) -> str:
    """A token as text; its number where the model has no tokenizer."""
    return str(token) if engine.tokenizer is None else str(engine.tokenizer.decode([token]))


def _fires(asked: Asked, traits: Traits, values: Float[Tensor, " fact"]) -> dict[str, str]:
    ranked = values.argsort(descending=True, stable=True)
    names = ", ".join(asked.facts[i].subject for i in ranked[:NAMES].tolist())
    return {"fires_on": names, "share": traits.shared(ranked[: max(NAMES, min(FIRED, len(asked) // 5))])}


def _head(engine: Engine, asked: Asked, traits: Traits, one: Component) -> dict[str, object]:
    at = Site("head_out", one.layer, one.head, one.position)
    out = engine.run(asked.tokens, [at])[at].float().cpu()
    last = one.position == asked.last
    kinds = asked.right if last else asked.tokens[:, asked.name.start]
    found = kinds.unique(return_counts=True)
    frequent = found[0][found[1].argsort(descending=True, stable=True)[:3]].tolist()
    said = []
    for kind in frequent:
        difference = out[kinds == kind].mean(0) - out.mean(0)
        label = asked.labels[kind] if last else decoded(engine, kind)
        said.append(f"{label} → {' '.join(words_of(engine, difference, 2))}")
    return {
        "kind": "head", "layer": one.layer, "index": one.head,
        "place": "the last position" if last else "the name's last token",
        "effect": float(one.effects.mean()), **_fires(asked, traits, one.effects),
        "writes_answers": _favours(engine, asked, out) if last else "", "writes_words": "; ".join(said),
    }  # fmt: skip


def _favours(engine: Engine, asked: Asked, out: Float[Tensor, "fact d_model"]) -> str:
    """How often a head's own output raises the right answer most."""
    scores = (out - out.mean(0)) @ answer_directions(engine, asked).float().cpu()
    return f"the right answer most, for {(scores.argmax(1) == asked.right).float().mean():.0%} of facts"
