"""Is a fact and its reverse one entry of the lookup or two? Gradients, edits and ablations of both directions.

What a model answers is read as two tables over the same n facts: the logits of all objects after each subject, and of
all subjects after each object. A fact's lead in a table is its own logit less the mean of the row's others. Leads, not
losses: the gradient of a loss of 1e-6 nats is rounding, that of a lead is not.

Source: the question whether a remedy writes a second entry: arXiv 2604.04943; gradients as in Nanda's thread (2023).
Deviation: ours in all three measures.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.models.architecture import Architecture
from oneway.models.transformer import Weights

Table = Callable[
    [Weights], Float[Tensor, "seed fact answer"]
]  # row i is asked of fact i, whose answer is column i
# Where a fact of its own can be kept. Biases, norms and positions are the same for all facts.
MATRICES = ("W_E", "W_U", "W_QKV", "W_O", "W_in", "W_out")
EDIT_STEPS = 30
EDITED = 1.0  # nats by which the new object leads the old one after an edit
NO_EFFECT = 1e-6  # of a lead: less is rounding
CARRIES = 0.1  # of the longest matrix's gradient: a matrix with less has noise in it, and no facts


class Entries(NamedTuple):
    """Per seed: 0 where the two directions have nothing in common that other facts have not, 1 where they share all.

    `alignment`: cosine of the gradients of a fact's two leads, less that of different facts' leads, in the `matrix`
    where it is largest. `edit`: how much the reverse table follows when a fact is given another object by a change of
    that matrix, by the change forward. `overlap`: correlation over heads and neurons of what a fact's two leads lose
    without them, less that of different facts. Without a matrix that takes part in both directions all is 0.
    """

    alignment: Float[Tensor, " seed"]
    edit: Float[Tensor, " seed"]
    overlap: Float[Tensor, " seed"]
    matrix: str


def entries(
    weights: Weights,
    a: Architecture,
    forward: Table,
    reverse: Table,
    used: Callable[[Weights], Weights] = lambda weights: weights,
) -> Entries:
    """All three measures. `forward` has subjects as rows and objects as columns, `reverse` the other way round.

    `used` makes the weights that are read of those that may move, where one matrix stands in several places. Raises
    what `edit` raises.
    """
    common = overlap(used(weights), a, forward, reverse)
    forward, reverse = _after(used, forward), _after(used, reverse)
    aligned = alignment(weights, forward, reverse)
    if not aligned:  # no matrix takes part in both directions
        return Entries(torch.zeros_like(common), torch.zeros_like(common), common, "")
    matrix = max(aligned, key=lambda name: float(aligned[name].mean()))
    return Entries(
        aligned[matrix],
        edit(weights, matrix, forward, reverse),
        common,
        matrix,
    )


def _after(used: Callable[[Weights], Weights], table: Table) -> Table:
    return lambda weights: table(used(weights))


def leads(table: Float[Tensor, "seed fact answer"]) -> Float[Tensor, "seed fact"]:
    """Each fact's logit less the mean of the others in its row."""
    n = table.shape[-1]
    own = table.diagonal(dim1=1, dim2=2)
    return own - (table.sum(-1) - own) / (n - 1)


def alignment(weights: Weights, forward: Table, reverse: Table) -> dict[str, Float[Tensor, " seed"]]:
    """For every matrix the mean over facts of cos(g, h), less the mean over pairs of different facts.

    g and h are the gradients of the forward and the reverse lead in the matrix, each less its mean over the facts: what
    would raise all leads of a direction at once is no fact's own. Matrices whose gradients are, in one of the
    directions, shorter than a tenth of the longest matrix's are left out: training would hardly move them.
    """
    names = [name for name in weights if name.rsplit(".", 1)[-1] in MATRICES]
    of = [_gradients(weights, names, table) for table in (forward, reverse)]
    both = [name for name in names if all(name in grads for grads in of)]
    return {name: _beyond_others(of[0][name] @ of[1][name].mT) for name in both}


def _gradients(
    weights: Weights, names: Sequence[str], table: Table
) -> dict[str, Float[Tensor, "seed fact parameter"]]:
    """Of every fact's lead in each matrix that carries facts, less the mean over facts, of length 1."""
    live = {n: w.detach().clone().requires_grad_(n in names) for n, w in weights.items()}
    wanted = [live[name] for name in names]
    found, rows = leads(table(live)), []
    for fact in range(found.shape[1]):
        grads = torch.autograd.grad(found[:, fact].sum(), wanted, retain_graph=True, allow_unused=True)
        pairs = zip(grads, wanted, strict=True)
        rows.append([(torch.zeros_like(w) if grad is None else grad).flatten(1) for grad, w in pairs])
    stacked = [torch.stack(of_matrix, 1) for of_matrix in zip(*rows, strict=True)]
    centred = [each - each.mean(1, keepdim=True) for each in stacked]
    lengths = [each.norm(dim=-1, keepdim=True) for each in centred]
    least = CARRIES * max(float(length.mean()) for length in lengths)
    return {
        name: each / length.clamp_min(NO_EFFECT * least)
        for name, each, length in zip(names, centred, lengths, strict=True)
        if float(length.mean()) >= least
    }


def _beyond_others(matrix: Float[Tensor, "seed fact fact"]) -> Float[Tensor, " seed"]:
    n = matrix.shape[-1]
    own = matrix.diagonal(dim1=1, dim2=2).sum(-1)
    return own / n - (matrix.sum((1, 2)) - own) / (n * (n - 1))


def edit(weights: Weights, matrix: str, forward: Table, reverse: Table) -> Float[Tensor, " seed"]:
    """Mean over facts of how far the reverse follows a forward edit, by how far the edit went.

    Fact i is given the object of fact i + 1, by steps in one matrix along the gradient of the two logits' difference,
    until the new object leads by 1 nat. With Δ the change of a logit less its row's mean, the reverse follows by
    Δ reverse[i + 1, i] − Δ reverse[i, i], the edit goes by Δ forward[i, i + 1] − Δ forward[i, i].
    """
    with torch.no_grad():
        before = [_centred(table(weights)) for table in (forward, reverse)]
    found = []
    for fact in range(before[0].shape[1]):
        new = (fact + 1) % before[0].shape[1]
        edited = _edited(weights, matrix, forward, fact, new)
        with torch.no_grad():
            after = [_centred(table(edited)) for table in (forward, reverse)]
        moved = [end - start for start, end in zip(before, after, strict=True)]
        went = moved[0][:, fact, new] - moved[0][:, fact, fact]
        followed = moved[1][:, new, fact] - moved[1][:, fact, fact]
        found.append(followed / went)
    return torch.stack(found).mean(0)


def _centred(table: Float[Tensor, "seed fact answer"]) -> Float[Tensor, "seed fact answer"]:
    return table - table.mean(-1, keepdim=True)


def _edited(weights: Weights, matrix: str, forward: Table, fact: int, new: int) -> Weights:
    """At least 1 nat further than before. Raises ValueError where the new object does not come to lead."""
    now = weights[matrix].detach().clone()
    with torch.no_grad():
        start = forward(weights)[:, fact]
        wanted = (start[:, new] - start[:, fact]).clamp_min(0) + EDITED
    for _ in range(EDIT_STEPS):
        live = now.requires_grad_()
        row = forward({**weights, matrix: live})[:, fact]
        lead = row[:, new] - row[:, fact]
        short = (wanted - lead.detach()).clamp_min(0)
        if not short.any():
            return {**weights, matrix: live.detach()}
        (grad,) = torch.autograd.grad(lead.sum(), live)
        rate = (short + 0.01 * (short > 0)) / grad.flatten(1).square().sum(1).clamp_min(1e-12)
        now = live.detach() + rate[:, None, None] * grad
    raise ValueError(
        f"fact {fact} could not be given another object in {EDIT_STEPS} steps in {matrix}: {short.tolist()} nats lack"
    )


def overlap(weights: Weights, a: Architecture, forward: Table, reverse: Table) -> Float[Tensor, " seed"]:
    """Correlation over units of the shares of a fact's two leads that go with them, less that of different facts.

    Each head's and each neuron's output is taken away by itself. What a unit takes from all facts alike is subtracted
    first: a head that moves every name is no sign of a shared entry. 0 where no unit takes anything of one fact alone.
    """
    with torch.no_grad():
        clean = [leads(table(weights)) for table in (forward, reverse)]
        lost: list[list[Tensor]] = [[], []]
        for without in _without_units(weights, a):
            for way, table in enumerate((forward, reverse)):
                share = (clean[way] - leads(table(without))) / clean[way].abs().clamp_min(1.0)
                lost[way].append(share - share.mean(1, keepdim=True))
        effects = [torch.stack(own, -1) for own in lost]  # each [seed fact unit]
        effects = [torch.where(own.abs() < NO_EFFECT, 0.0, own) for own in effects]
        lengths = [torch.nn.functional.normalize(own, dim=-1) for own in effects]
        return _beyond_others(lengths[0] @ lengths[1].mT)


def _without_units(weights: Weights, a: Architecture) -> Iterator[Weights]:
    """The models without each head, and without each neuron that any weight reads."""
    for layer in range(a.layers):
        for name, count, size in (("W_O", a.heads, a.head_width), ("W_out", a.mlp, 1)):
            whole = weights[f"blocks.{layer}.{name}"]
            for unit in range(count):
                own = slice(unit * size, (unit + 1) * size)
                if whole[:, own].any():
                    cut = whole.clone()
                    cut[:, own] = 0
                    yield {**weights, f"blocks.{layer}.{name}": cut}
