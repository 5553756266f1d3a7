"""F10–F12: what single neurons do: shared between facts of an entity, making the AND of a name's parts, telling an
attribute.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Head
from oneway.anatomy.hashing import Names, auc_of, aucs
from oneway.anatomy.probes import read_directions
from oneway.engine import Engine, LogProbability, Patch, Site, Zero
from oneway.engine.workloads import product_of_names
from oneway.evidence.estimate import Estimate, over_facts

SILENT = 1e-8  # of the residual stream's length


def neuron_changes(
    engine: Engine, asked: Asked, layers: Sequence[int], *, of: Sequence[int] | None = None
) -> Float[Tensor, "neuron_of_layers fact"]:
    """How far log p(right), in nats, changes when a neuron is mean-ablated on the name's last token, one by one.

    `of`: the facts whose change is wanted (default: all); the means are over all facts either way.
    """
    rows = list(range(len(asked))) if of is None else list(of)
    some = asked.only(rows)
    readout = LogProbability(answer=some.right_token)
    changes = []
    for layer in layers:
        post = Site("mlp_post", layer, position=asked.final)
        after = Site("resid_post", layer, position=asked.final)
        found = engine.run(asked.tokens, [post, after])
        mean = found[post].mean(0)
        # By how much the stream moves, at most, beside its length: float32 loses what is less.
        moves = (found[post][rows] - mean).abs().amax(0) * engine.weights.blocks[layer].W_out.norm(dim=1)
        moving = (moves > SILENT * found[after][rows].norm(dim=1).min()).nonzero()[:, 0].tolist()
        change = mean.new_zeros((len(mean), len(some)))
        if moving:
            patches = [
                Patch(Site("mlp_post", layer, position=asked.final, neuron=neuron), mean[neuron])
                for neuron in moving
            ]
            change[moving] = engine.effects(some.tokens, patches, readout).change
        changes.append(change)
    return torch.cat(changes)


@dataclass(frozen=True, slots=True, eq=False)
class SharedNeurons:
    """F10: correlations over neurons of their effects on two facts of one entity: one row an entity and pair."""

    table: pl.DataFrame

    def mean(self, kind: str) -> Estimate:
        """Over entities: each one's mean correlation over its pairs of facts of that kind."""
        own = self.table.filter(pl.col("kind") == kind).group_by("entity", maintain_order=True)
        return over_facts(own.agg(pl.col("correlation").mean())["correlation"].to_numpy(), "correlation")


def shared_neurons(
    changes: Mapping[str, Mapping[str, Float[np.ndarray, " neuron"]]],
    again: Mapping[str, Mapping[str, Float[np.ndarray, " neuron"]]],
) -> SharedNeurons:
    """F10: are the neurons that matter for one fact of an entity those that matter for another?

    `changes[relation][entity]` are the effects of all neurons on that fact (`neuron_changes`), `again` the same asked
    in other words: the control, since the same fact should find the same neurons ("same fact"). "other fact" pairs two
    relations of one entity, "other entity" one relation of two entities (the next one in the table). Claim: near zero
    for other facts.
    """
    rows = []

    def add(kind: str, entity: str, one: np.ndarray, other: np.ndarray) -> None:
        if one.std() > 0 and other.std() > 0:
            rows.append({"entity": entity, "kind": kind, "correlation": float(np.corrcoef(one, other)[0, 1])})

    relations = list(changes)
    for number, relation in enumerate(relations):
        entities = list(changes[relation])
        for index, entity in enumerate(entities):
            own = changes[relation][entity]
            if entity in again.get(relation, {}):
                add("same fact", entity, own, again[relation][entity])
            for other in relations[number + 1 :]:
                if entity in changes[other]:
                    add("other fact", entity, own, changes[other][entity])
            if len(entities) > 1:
                add("other entity", entity, own, changes[relation][entities[(index + 1) % len(entities)]])
    return SharedNeurons(pl.DataFrame(rows, schema={"entity": str, "kind": str, "correlation": float}))


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """F11: for every known name, the excess that neurons themselves made, and all of it at the probe; their ratio.

    `by_neuron` is what each neuron makes, a mean over the names.
    """

    made_by_neurons: Float[Tensor, " fact"]
    at_probe: Float[Tensor, " fact"]
    by_neuron: Float[Tensor, "layer neuron"]

    @property
    def ratio(self) -> Float[Tensor, " fact"]:
        """What the neurons made over the total, for names whose total is positive; NaN for the others."""
        return torch.where(self.at_probe > 0, self.made_by_neurons / self.at_probe, torch.nan)

    def median(self, *, resamples: int = 2000, seed: int = 0) -> Estimate:
        """The median ratio, with a bootstrap interval over names."""
        x = self.ratio[~self.ratio.isnan()].numpy()
        rng = np.random.default_rng(seed)
        if len(x) < 2:
            return Estimate(float(np.median(x)) if len(x) else np.nan, -np.inf, np.inf, len(x), "ratio")
        medians = np.median(x[rng.integers(len(x), size=(resamples, len(x)))], axis=1)
        low, high = np.quantile(medians, [0.025, 0.975])
        return Estimate(float(np.median(x)), float(low), float(high), len(x), "ratio")


def excess(values: Float[Tensor, "first last *rest"]) -> Float[Tensor, "first last *rest"]:
    """The non-linear excess of every name: E[a|A,B] − E[a|¬A,B] − E[a|A,¬B] + E[a|¬A,¬B], A its first part, B its last.

    0 for a sum of functions of the parts, 1 for AND, −1 for OR. Over a full product, of which each name is one cell.
    """
    firsts, lasts = values.shape[:2]
    column, row = values.sum(0, keepdim=True), values.sum(1, keepdim=True)
    total = column.sum(1, keepdim=True)
    return (
        values
        - (column - values) / (firsts - 1)
        - (row - values) / (lasts - 1)
        + (total - column - row + values) / ((firsts - 1) * (lasts - 1))
    )


def nonlinear_excess(engine: Engine, asked: Asked, names: Names, head: Head) -> Excess:
    """F11: how much of the AND at the probe is made by the neurons that write it, and how much was there before them.

    On names alone, over the product of all first and last parts. A neuron's own part is the excess after its activation
    less that before it (where positive); only positive parts count, each weighted by the neuron's direct effect on the
    head's probe of the right answer against the mean of the others, at the fixed scale of the norm that the head reads
    by (its mean over the names). Claim: the median ratio is about a quarter: most was made by earlier neurons. Single-
    step detokenization would have it at 1.
    """
    layers = range(head[0])
    weights = probe_weights(engine, asked, head)
    known = names.known.nonzero()
    right = _right_of(asked, names)
    posts, pres = [Site("mlp_post", la) for la in layers], [Site("mlp_pre", la) for la in layers]
    stream = Site("resid_pre", head[0])
    sites = [*posts, *pres, stream]
    firsts = names.firsts[:, None]
    beginnings = torch.cat((names.front.expand(len(firsts), -1), firsts), dim=1)
    found = {site: _ExcessOf(names.known.shape) for site in sites}
    scale = []
    for rows, values in product_of_names(engine, beginnings, names.lasts, sites):
        for site in sites:
            found[site].add(rows, values[site].cpu(), known)
        scale.append(norm_scale(engine, values[stream]).cpu())
    fixed = float(torch.cat(scale).mean())
    made, by_neuron = torch.zeros(len(known)), []
    for layer, post, pre in zip(layers, posts, pres, strict=True):
        own = (found[post].of_known() - found[pre].of_known().clamp_min(0)).clamp_min(0)
        direct = engine.weights.blocks[layer].W_out.cpu() @ weights * fixed  # [neuron answer]
        weighted = (own * direct.T[right]).clamp_min(0)
        made += weighted.sum(1)
        by_neuron.append(weighted.mean(0))
    at_probe = (found[stream].of_known() * (weights.T * fixed)[right]).sum(1)
    return Excess(made, at_probe, torch.stack(by_neuron))


class _ExcessOf:
    """The excess of known names, from the product of names a few beginnings at a time."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape, self.column = shape, torch.zeros(())
        self.cells: list[Tensor] = []
        self.rows: list[Tensor] = []
        self.at: list[Tensor] = []

    def add(self, rows: slice, values: Float[Tensor, "some last d"], known: Tensor) -> None:
        self.column = self.column + values.double().sum(0)
        mine = known[(known[:, 0] >= rows.start) & (known[:, 0] < rows.stop)]
        self.cells.append(values[mine[:, 0] - rows.start, mine[:, 1]])
        self.rows.append(values.double().sum(1)[mine[:, 0] - rows.start])
        self.at.append(mine)

    def of_known(self) -> Float[Tensor, "fact d"]:
        """In the order of the known names, as `names.known.nonzero()` gives them."""
        firsts, lasts = self.shape
        cell, row, at = torch.cat(self.cells).double(), torch.cat(self.rows), torch.cat(self.at)
        column, total = self.column[at[:, 1]], self.column.sum(0)
        found = (
            cell
            - (column - cell) / (firsts - 1)
            - (row - cell) / (lasts - 1)
            + (total - column - row + cell) / ((firsts - 1) * (lasts - 1))
        )
        return found.float()


def probe_weights(engine: Engine, asked: Asked, head: Head) -> Float[Tensor, "d_model answer"]:
    """What the residual stream adds to the probe's score of each answer, less the mean of the other answers."""
    read = engine.weights.blocks[head[0]].ln1_w[:, None] * read_directions(engine, asked, head)
    if engine.form.norm == "layer":
        read = read - read.mean(0)
    answers = read.shape[1]
    return ((read - read.mean(1, keepdim=True)) * answers / (answers - 1)).cpu()


def norm_scale(engine: Engine, resid: Tensor) -> Tensor:
    """One over the standard deviation (or the root mean square) that a norm divides by."""
    centred = resid - resid.mean(-1, keepdim=True) if engine.form.norm == "layer" else resid
    return (centred.square().mean(-1) + engine.form.epsilon).rsqrt().flatten()


def _right_of(asked: Asked, names: Names) -> Tensor:
    """The right answers of the known names in the order of `names.known.nonzero()`."""
    table = torch.full(names.known.shape, -1)
    first = torch.searchsorted(names.firsts, asked.tokens[:, asked.name.start].contiguous())
    last = torch.searchsorted(names.lasts, asked.tokens[:, asked.name.stop - 1].contiguous())
    table[first, last] = asked.right
    return table[names.known]


@dataclass(frozen=True, slots=True)
class AttributeNeuron:
    """F12: the neuron that tells one answer best, and whether it matters.

    `auc` on the half of the facts that it was not chosen on, `chosen_at` on the other. Losses are −log p(right), in
    nats, over facts with that answer: clean, and the neuron mean- and zero-ablated; `loss_added` by the first, fact by
    fact. Cosines of its input weights: with its output weights, with the answer's direction through the head, and with
    that direction less the others'. `auc_after`: with these three directions removed from the input weights: if it only
    boosted a signal, little would be left.
    """

    label: str
    layer: int
    neuron: int
    chosen_at: float
    auc: Estimate
    loss_clean: Estimate
    loss_mean_ablated: Estimate
    loss_zero_ablated: Estimate
    cos_output: float
    cos_head: float
    cos_against_others: float
    auc_after: Estimate
    loss_added: Estimate


def attribute_neurons(engine: Engine, asked: Asked, head: Head, *, seed: int = 0) -> list[AttributeNeuron]:
    """F12: for every answer, the neuron below the head whose activation on the name's last token tells it best.

    Chosen by AUC on a random half of the facts, reported on the other half.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(asked)))
    choosing, judging = order[: len(order) // 2], order[len(order) // 2 :]
    sites = [Site("mlp_post", layer, position=asked.final) for layer in range(head[0])]
    sites += [Site("mlp_in", layer, position=asked.final) for layer in range(head[0])]
    found = {site: value.cpu() for site, value in engine.run(asked.tokens, sites).items()}
    posts = torch.stack([found[site] for site in sites[: head[0]]])  # [layer fact neuron]
    chosen = []
    for answer, label in enumerate(asked.labels):
        has = asked.right == answer
        if min(int(has[choosing].sum()), int((~has)[choosing].sum())) < 2:
            continue
        scores = np.stack([aucs(layer[choosing], has[choosing]) for layer in posts])
        layer, neuron = divmod(int(scores.argmax()), scores.shape[1])
        read = found[sites[head[0] + layer]]
        at = float(scores.max())
        chosen.append(_described(engine, asked, head, label, has, (layer, neuron), at, posts, read, judging))
    return chosen


def _described(
    engine: Engine,
    asked: Asked,
    head: Head,
    label: str,
    has: Bool[Tensor, " fact"],
    which: tuple[int, int],
    chosen_at: float,
    posts: Float[Tensor, "layer fact neuron"],
    read: Float[Tensor, "fact d_model"],
    judging: Tensor,
) -> AttributeNeuron:
    layer, neuron = which
    own = asked.only(has)
    site = Site("mlp_post", layer, position=asked.final, neuron=neuron)
    mean = posts[layer, :, neuron].mean()  # over all facts, not over those with the answer
    readout = LogProbability(answer=own.right_token)
    told = engine.effects(own.tokens, [Patch(site, mean), Patch(site, Zero())], readout)
    block = engine.weights.blocks[layer]
    into, out = block.W_in[:, neuron].cpu(), block.W_out[neuron].cpu()
    directions = read_directions(engine, asked, head).cpu()
    answer = asked.labels.index(label)
    through = directions[:, answer]
    others = directions[:, [i for i in range(len(asked.labels)) if i != answer]].mean(1)
    removed = torch.linalg.qr(torch.stack((out, through, through - others), dim=1))[0]
    left = into - removed @ (removed.T @ into)
    clean, mean_ablated, zero_ablated = (
        over_facts(-loss.cpu().numpy(), "nats") for loss in (told.clean, *told.patched)
    )
    against = through - others
    cos_output, cos_head, cos_against = (
        float(torch.cosine_similarity(into, other, dim=0)) for other in (out, through, against)
    )
    return AttributeNeuron(
        label,
        layer,
        neuron,
        chosen_at,
        auc_of(posts[layer, judging, neuron], has[judging]),
        clean,
        mean_ablated,
        zero_ablated,
        cos_output,
        cos_head,
        cos_against,
        auc_of((read @ left)[judging], has[judging]),
        over_facts((told.clean - told.patched[0]).double().cpu().numpy(), "nats"),
    )
