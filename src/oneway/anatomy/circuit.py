"""N1: the circuit of a one-way lookup in a trained model: what carries the name's first parts to its last token, what
fires on both, what is written there, and what moves it to where it is said.

Source: Neel Nanda 2023, thread on the reversal curse: previous-token heads, neurons that fire on current AND previous
token, directions for *output*, *next output*, …, late heads that move *next output* along.
"""

from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import log_odds
from oneway.anatomy.hashing import Names
from oneway.anatomy.intervals import interval_table
from oneway.anatomy.probes import Swapped, swapped
from oneway.engine import Engine, Patch, Resample, Site
from oneway.engine.workloads import attention_patterns, product_of_names

HELD = 0.9  # of the variance of what the first part brings: the rest is spread over all directions


def carrying_heads(engine: Engine, asked: Asked, *, seed: int = 0) -> pl.DataFrame:
    """N1: which heads carry the earlier parts of a name to its last token: one row a head, the strongest first.

    `attention`: how much the name's last token attends to the name's tokens before it; `effect`: by how much the
    log-odds of the right answer fall when the head's output on the last token is another fact's (resample).

    Raises ValueError for names of one token, which have nothing to carry.
    """
    if len(asked.name) < 2:
        raise ValueError("names of one token have no earlier part that a head could carry")
    source = asked.others(seed=seed)
    layers, heads = engine.layers, engine.form.heads
    patches = [
        Patch(Site("z", layer, head, asked.final), Resample(source))
        for layer in range(layers)
        for head in range(heads)
    ]
    change = -engine.effects(asked.tokens, patches, log_odds(asked, source)).change
    before = slice(asked.name.start, asked.final)
    looks = torch.stack(
        [
            attention_patterns(engine, asked.tokens, layer, asked.final)[..., before].sum(-1).T
            for layer in range(layers)
        ]
    )
    effects = interval_table(change.unflatten(0, (layers, heads)), ("layer", "head"), "effect")
    attention = interval_table(looks, ("layer", "head"), "attention")
    return effects.with_columns(attention=attention["attention"]).sort("effect", descending=True)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """How the residual stream on the last token of two-token names splits up: what the first part brings, what the last
    brings, and what only both together do. Shares of its variance over the product of all parts, by layer.
    """

    table: pl.DataFrame
    basis: Float[Tensor, "d_model rank"]  # of what the first part brings, after the layer that was asked for


def parts_of_names(engine: Engine, names: Names, layer: int) -> Parts:
    """N1: is there a subspace for the previous token on a name's last one, and how large is it?

    r(A, B) = mean + a(A) + b(B) + c(A, B) over all pairs of parts, each term of mean zero (a two-way analysis of
    variance); `basis` spans the directions that hold nine tenths of a(A) after `layer`.
    """
    sites = [Site("resid_post", number) for number in range(engine.layers)]
    beginnings = torch.cat((names.front.expand(len(names.firsts), -1), names.firsts[:, None]), dim=1)
    of_first: dict[Site, list[Tensor]] = {site: [] for site in sites}
    of_last = dict.fromkeys(sites, torch.zeros(()))
    squares = dict.fromkeys(sites, 0.0)
    for _, values in product_of_names(engine, beginnings, names.lasts, sites):
        for site in sites:
            value = values[site].double().cpu()
            of_first[site].append(value.mean(1))
            of_last[site] = of_last[site] + value.sum(0)
            squares[site] += float(value.square().sum())
    rows, basis = [], torch.zeros(0)
    firsts, lasts = names.known.shape
    for site in sites:
        first, last = torch.cat(of_first[site]), of_last[site] / firsts
        mean = first.mean(0)
        total = squares[site] / (firsts * lasts) - float(mean.square().sum())
        a, b = float((first - mean).square().sum() / firsts), float((last - mean).square().sum() / lasts)
        rows.append(
            {
                "layer": site.layer,
                "first": a / total,
                "last": b / total,
                "both": max(0.0, 1 - (a + b) / total),
            }
        )
        if site.layer == layer:
            left, values, _ = torch.linalg.svd((first - mean).T, full_matrices=False)
            held = values.square().cumsum(0) / values.square().sum()
            basis = left[:, : int((held < HELD).sum()) + 1].to(engine.weights.W_E)
    return Parts(pl.DataFrame(rows), basis)


def without_subspace(
    engine: Engine, asked: Asked, layer: int, basis: Float[Tensor, "d_model rank"], *, seed: int = 0
) -> dict[str, Swapped]:
    """What is answered when a subspace on the name's last token, after a layer, is another fact's; and when a random
    subspace of as many dimensions is."""
    at = Site("resid_post", layer, position=asked.final)
    resid = engine.run(asked.tokens, [at])[at]
    source = asked.others(seed=seed)
    change = resid[source] - resid
    drawn = torch.randn(basis.shape, generator=torch.Generator().manual_seed(seed)).to(basis)
    random = torch.linalg.qr(drawn)[0]
    kinds = {"subspace": basis, "random": random}
    return swapped(
        engine, asked, [Patch(at, resid + change @ b @ b.T) for b in kinds.values()], list(kinds), source
    )


def answer_on_the_way(engine: Engine, asked: Asked, *, seed: int = 0) -> pl.DataFrame:
    """N1: where the answer is, by position and layer: how often the model follows another fact when the whole residual
    stream before a layer is that fact's, at one position from the name's last token to the prompt's.

    With `ask(…, said=k)` this asks for *next output* and *next-next output*: on the name, or on the way already.
    """
    source, layers, rows = asked.others(seed=seed), range(engine.layers), []
    for position in range(asked.final, asked.last + 1):
        sites = [Site("resid_pre", layer, position=position) for layer in layers]
        patches = [Patch(site, Resample(source)) for site in sites]
        found = swapped(engine, asked, patches, [str(layer) for layer in layers], source)
        for layer, one in found.items():
            follows = {"follows": one.follows.mean, "low": one.follows.low, "high": one.follows.high}
            rows.append({"position": position, "layer": int(layer), **follows})
    return pl.DataFrame(rows)
