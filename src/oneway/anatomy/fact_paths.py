"""One fact's way through the model, for every fact: what probes read after each layer, where heads look, which parts
and neurons matter for it.
"""

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from oneway.anatomy.asked import Asked, probabilities
from oneway.anatomy.circuit_picture import Drawn
from oneway.anatomy.extraction import Head
from oneway.anatomy.neurons import norm_scale, probe_weights
from oneway.anatomy.probes import normed, read_directions, streams
from oneway.engine import Engine, Site
from oneway.report import FactPaths

MOST_FACTS, ANSWERS, NEURONS, FOLDS = 1500, 6, 8, 5

Acting = Float[Tensor, "fact neuron"]  # neurons of all layers below a head, one layer after the other


def fact_paths(
    engine: Engine,
    asked: Asked,
    head: Head,
    drawn: Drawn,
    acting: Acting,
    effects: Acting,
    *,
    unit: str,
    seed: int = 0,
) -> FactPaths:
    """Every fact's path, of the first 1,500 facts. `acting` and `effects` are activations and effects (in `unit`) of
    all neurons below the head on the name's last token, see `activations` and `neuron_parts`.
    """
    count = min(len(asked), MOST_FACTS)
    some = asked.only(range(count))
    likely = probabilities(engine, some)
    stream = streams(engine, asked.tokens, asked.final)
    trained = torch.stack(
        [held_out_probe(one, asked.right, len(asked.answers), seed=seed) for one in stream], 1
    )
    scores = torch.stack([_weights_probe(engine, asked, head, one) for one in stream], 1)
    shown = _shown(some, scores[:count, head[0]])
    pick = shown[:, None].expand(-1, len(stream), -1)
    facts = pl.DataFrame(
        {
            "subject": [fact.subject for fact in some.facts],
            "answer": [asked.labels[i] for i in some.right.tolist()],
            "said": [asked.labels[i] for i in likely.argmax(1).tolist()],
            "probability": likely.gather(1, some.right[:, None])[:, 0].numpy(),
        }
    )
    left = len(asked) - count
    return FactPaths(
        facts=facts,
        answers=asked.labels,
        shown=shown.numpy(),
        weights=scores[:count].gather(2, pick).numpy(),
        trained=trained[:count].gather(2, pick).numpy(),
        heads=tuple(one.id for one in drawn.components if one.head is not None),
        attention=drawn.attention[:, :count].transpose(0, 1).numpy(),
        effects=torch.stack([one.effects[:count] for one in drawn.components], 1).float().numpy(),
        neurons=_strongest_neurons(engine, asked, head, acting[:count], effects[:count]),
        unit=unit,
        notes=(f"{left} further facts are not in the picker.",) if left else (),
    )


def activations(engine: Engine, asked: Asked, head: Head) -> Acting:
    """What every neuron below the head's layer sends out (mlp_post) on the name's last token."""
    sites = [Site("mlp_post", layer, position=asked.final) for layer in range(head[0])]
    whole = torch.empty(len(asked), head[0] * engine.form.d_mlp)
    for rows, found in engine.stream(asked.tokens, sites):
        whole[rows] = torch.cat([found[site] for site in sites], dim=1).float().cpu()
    return whole


def neuron_parts(engine: Engine, asked: Asked, head: Head, acting: Acting) -> Acting:
    """A neuron's part in what the head reads of the right answer against the mean of the others, in logits:

        (activation − its mean over facts) · W_out · probe direction, at the fixed scale of the norm that the head
        reads by.

    Direct: without what later layers make of it. Where an ablation of every neuron was made, that is better.
    """
    at = Site("resid_pre", head[0], position=asked.final)
    scale = norm_scale(engine, engine.run(asked.tokens, [at])[at]).cpu()
    out = _written(engine, asked, head)
    centred = acting - acting.mean(0)
    parts = torch.empty_like(acting)
    for answer in range(len(asked.answers)):
        own = asked.right == answer
        parts[own] = centred[own] * out[:, answer] * scale[own, None]
    return parts


def held_out_probe(
    features: Float[Tensor, "fact d_model"], right: Int[Tensor, " fact"], answers: int, *, seed: int = 0
) -> Float[Tensor, "fact answer"]:
    """What a logistic regression gives each answer, each fact judged by one that was trained without it (5 folds)."""
    x, y = features.double().cpu().numpy(), right.cpu().numpy()
    found = np.zeros((len(x), answers), dtype=np.float32)
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        probe.fit(x[train], y[train])
        found[np.ix_(test, probe.classes_)] = probe.predict_proba(x[test])
    return torch.from_numpy(found)


def _weights_probe(
    engine: Engine, asked: Asked, head: Head, resid: Float[Tensor, "fact d_model"]
) -> Float[Tensor, "fact answer"]:
    """The mechanistic probe on the stream after some layer, centred over the facts."""
    scores = normed(engine, head[0], resid) @ read_directions(engine, asked, head)
    return (scores - scores.mean(0)).float().cpu()


def _shown(asked: Asked, scores: Float[Tensor, "fact answer"]) -> Int[Tensor, "fact shown"]:
    """The right answer, then those that the probe ranks highest where the head reads."""
    ranked = scores.scatter(1, asked.right[:, None], torch.inf).argsort(dim=1, descending=True, stable=True)
    return ranked[:, :ANSWERS].contiguous()


def _written(engine: Engine, asked: Asked, head: Head) -> Float[Tensor, "neuron answer"]:
    """What each neuron below the head adds, when it is 1, to the head's probe of each answer, unscaled."""
    weights = probe_weights(engine, asked, head)
    return torch.cat([engine.weights.blocks[layer].W_out.float().cpu() @ weights for layer in range(head[0])])


def _strongest_neurons(
    engine: Engine, asked: Asked, head: Head, acting: Acting, effects: Acting
) -> pl.DataFrame:
    facts, some, d_mlp = len(acting), min(NEURONS, acting.shape[1]), engine.form.d_mlp
    which = effects.abs().topk(some, dim=1).indices
    flat = which.flatten()
    raised = _written(engine, asked, head).argmax(1)[flat]
    return pl.DataFrame(
        {
            "fact": np.repeat(np.arange(facts), some),
            "layer": (flat // d_mlp).numpy(),
            "neuron": (flat % d_mlp).numpy(),
            "activation": acting.gather(1, which).flatten().numpy(),
            "effect": effects.gather(1, which).flatten().numpy(),
            "writes": [asked.labels[i] for i in raised.tolist()],
        }
    )
