"""F13–F16: is the name hashed before it is looked up? Probes through layers, norms, broken linearity, and a test that
misleads.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 3.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from sklearn.covariance import LedoitWolf
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.intervals import interval_table, resampled
from oneway.anatomy.probes import trained_probe
from oneway.anatomy.simplification import Simplified
from oneway.engine import Engine, Site
from oneway.engine.prepared import Prepared
from oneway.engine.workloads import residuals
from oneway.evidence.estimate import Estimate, over_seeds
from oneway.models.decoder_weights import DecoderWeights

FEWEST_QUADRUPLES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Names of two tokens, known and unknown ones from the same parts: every known first with every known last.

    `parts` are the tokens of first and last; `known` says which pairs are facts that are asked.
    """

    front: Int[Tensor, " front"]
    firsts: Int[Tensor, " first"]
    lasts: Int[Tensor, " last"]
    known: Bool[Tensor, "first last"]

    def tokens(self, pairs: Int[Tensor, "pair 2"]) -> Int[Tensor, "pair pos"]:
        """The names alone, behind what the tokenizer puts in front."""
        both = torch.stack((self.firsts[pairs[:, 0]], self.lasts[pairs[:, 1]]), dim=1)
        return torch.cat((self.front.expand(len(pairs), -1), both), dim=1)


def names_of(asked: Asked) -> Names:
    """The parts of two-token names. Raises ValueError where the names have another number of tokens."""
    if len(asked.name) != 2:
        raise ValueError(f"names of {len(asked.name)} tokens are no pairs of a first and a last one")
    pairs = asked.tokens[:, list(asked.name)]
    firsts, first = pairs[:, 0].unique(return_inverse=True)
    lasts, last = pairs[:, 1].unique(return_inverse=True)
    known = torch.zeros(len(firsts), len(lasts), dtype=torch.bool)
    known[first, last] = True
    return Names(asked.tokens[0, : asked.front], firsts, lasts, known)


def probes_through(
    engine: Engine, asked: Asked, simplified: Simplified, *, splits: int = 10, seed: int = 0
) -> pl.DataFrame:
    """F13: a trained probe on the effective model's stream after each layer (-1: the summed tokens), over 10 splits.

    Claim: a smooth rise. Hashing first and looking up then would stay at chance and jump.
    """
    streams = effective_streams(engine, simplified)
    accuracies = [trained_probe(one, asked.right, splits=splits, seed=seed) for one in streams]
    return pl.DataFrame(
        {
            "layer": range(-1, len(streams) - 1),
            "accuracy": [one.mean for one in accuracies],
            "low": [one.low for one in accuracies],
            "high": [one.high for one in accuracies],
        }
    )


def effective_streams(engine: Engine, simplified: Simplified) -> list[Float[Tensor, "fact d_model"]]:
    """The effective model's stream on the name's last token: the summed tokens, and after each layer that it has."""
    at, until = (
        simplified.tokens.shape[1] - 1,
        max((p.site.layer or 0 for p in simplified.patches), default=0),
    )
    sites = [Site("resid_pre", 0, position=at)]
    sites += [Site("resid_post", layer, position=at) for layer in range(min(until + 1, engine.layers))]
    found = engine.run(simplified.tokens, sites, simplified.patches)
    return [found[site] for site in sites]


@dataclass(frozen=True, slots=True, eq=False)
class Norms:
    """F14: the norm of each known name's MLP outputs over the mean of unknown ones, by layer."""

    ratios: Float[Tensor, "fact layer"]

    def table(self) -> pl.DataFrame:
        """One row a layer: the mean over known names with its interval."""
        return interval_table(self.ratios.T, ("layer",), "ratio")


def norms(engine: Engine, names: Names, *, most: int = 2000, seed: int = 0) -> Norms:
    """F14: the norm of every MLP's output on the last token of known names, over that on unknown pairs of their parts.

    Each known name is divided by the mean of up to `most` unknown ones; where an MLP writes nothing for unknown names
    the ratio stops at a million. Claim: above 1.
    """
    rng = np.random.default_rng(seed)
    known, unknown = names.known.nonzero(), (~names.known).nonzero()
    unknown = unknown[torch.from_numpy(rng.permutation(len(unknown))[:most].copy())]
    own, other = (
        residuals(engine, names.tokens(pairs), -1, kind="mlp_out").norm(dim=-1) for pairs in (known, unknown)
    )
    below = other.mean(0).clamp_min(1e-6 * own.mean(0)).clamp_min(1e-30)
    return Norms((own / below).cpu())


def broken_linearity(
    engine: Engine, names: Names, *, pairs: int = 500, shuffles: int = 3, seed: int = 0
) -> pl.DataFrame:
    """F15: how far MLPs and the residual stream are from adding up what the parts of a name bring, by layer.

    For names A, B and C, D with A's and B's last tokens swapped,

        broken = ‖M(A) + M(B) − M(C) − M(D)‖ / ‖M(A) + M(B) − M(C′) − M(D′)‖

    with arbitrary unknown names C′, D′ that share no part with them: 0 where M is linear in the parts, 1 where nothing
    of that is left. A mean over quadruples with its interval. Of `names`: known (A, B known, C, D unknown); unknown
    (all four unknown); and the same as known in a model whose MLP weights are shuffled within each matrix, biases too
    (`shuffles` times): the shuffled model computes its own residual stream. (In a parallel block the first MLP reads
    the last token alone, so its share is 0 by construction.)

    Raises ValueError where the names do not hold a quadruple.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for kind, wanted in (("known", True), ("unknown", False)):
        quadruples = _quadruples(names, wanted, pairs, rng)
        rows.append(_broken(engine, names, quadruples).with_columns(names=pl.lit(kind)))
        if wanted:
            for number in range(shuffles):
                shuffled = _with_shuffled_mlps(engine, seed=seed + number)
                found = _broken(shuffled, names, quadruples)
                rows.append(found.with_columns(names=pl.lit(f"known, weights shuffled {number}")))
    return pl.concat(rows)


def _quadruples(
    names: Names, known: bool, count: int, rng: np.random.Generator
) -> Int[Tensor, "name quad 2"]:
    """Names A, B, C, D, C′, D′ as pairs of parts."""
    table = names.known.numpy()
    pairs = np.argwhere(table) if known else np.argwhere(~table)
    unknown = np.argwhere(~table)
    found: list[np.ndarray] = []
    for _ in range(200 * count):
        a, b = pairs[rng.integers(len(pairs), size=2)]
        c, d = (a[0], b[1]), (b[0], a[1])
        if a[0] == b[0] or a[1] == b[1] or table[c] or table[d]:
            continue
        e, f = unknown[rng.integers(len(unknown), size=2)]
        if {e[0], f[0]} & {a[0], b[0]} or {e[1], f[1]} & {a[1], b[1]}:
            continue
        found.append(np.array([a, b, c, d, e, f]))
        if len(found) == count:
            break
    if len(found) < FEWEST_QUADRUPLES:
        raise ValueError(
            f"the names share too few parts to be swapped: fewer than {FEWEST_QUADRUPLES} quadruples were found"
        )
    return torch.from_numpy(np.stack(found)).transpose(0, 1)


def _broken(engine: Engine, names: Names, quadruples: Int[Tensor, "name quad 2"]) -> pl.DataFrame:
    tokens = names.tokens(quadruples.flatten(0, 1))
    frames = []
    for kind in ("mlp_out", "resid_post"):
        a, b, c, d, e, f = residuals(engine, tokens, -1, kind=kind).unflatten(0, quadruples.shape[:2])
        swapped, arbitrary = (a + b - c - d).norm(dim=-1), (a + b - e - f).norm(dim=-1)
        share = swapped / arbitrary.clamp_min(1e-12)
        frames.append(interval_table(share.T, ("layer",), "broken").with_columns(of=pl.lit(kind)))
    return pl.concat(frames)


def _with_shuffled_mlps(engine: Engine, *, seed: int) -> Engine:
    generator = torch.Generator().manual_seed(seed)

    def shuffled(weight: Any) -> Any:
        if weight is None:
            return None
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        return weight.flatten()[order].view_as(weight)

    weights: DecoderWeights = engine.weights
    parts = ("W_in", "b_in", "W_up", "b_up", "W_out", "b_out")
    blocks = tuple(
        replace(block, **{part: shuffled(getattr(block, part)) for part in parts}) for block in weights.blocks
    )
    return Engine(Prepared(engine.form, replace(weights, blocks=blocks)), engine.tokenizer, engine.name)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """F16: how well one direction tells an attribute by what is left of each name without all other names' span."""

    measured: float  # AUC
    null: Estimate
    explained: float  # the share of squared length that the other names' span takes away


def orthogonal_remainder(
    resid: Float[Tensor, "fact d_model"],
    direction: Float[Tensor, " d_model"],
    has: Bool[Tensor, " fact"],
    *,
    simulations: int = 20,
    seed: int = 0,
) -> Orthogonal:
    """F16: the attribute neuron's input direction on what of each name's residual stream is orthogonal to all others'.

    The AUC seems to say that the neuron fires on what is a name's own. The null says why it misleads: names simulated
    as a direction that they share (as strong as it is measured to be) plus noise of the measured covariance hold
    nothing of their own, and give the same, since noisy samples need not span what they share. Source: post 3, which
    withdrew the test for this reason.

    Each remainder is taken by ridge-free least squares on the other names; where there are more names than dimensions
    nothing is left of any, and the AUC is NaN with an infinite interval.
    """
    x = (resid - resid.mean(0)).double().cpu()
    d = direction.double().cpu()
    measured, explained = _remainder_auc(x, d, has)
    rng = torch.Generator().manual_seed(seed)
    shared = x[has].mean(0) - x[~has].mean(0)
    noise = x - torch.where(has[:, None], x[has].mean(0), x[~has].mean(0))
    # Shrunk towards a sphere: the sample covariance has no length in directions that the samples happen not to span.
    covariance = torch.from_numpy(LedoitWolf().fit(noise.numpy()).covariance_)
    root = torch.linalg.cholesky(covariance)
    found = []
    for _ in range(simulations):
        drawn = torch.randn(x.shape, generator=rng, dtype=torch.float64)
        simulated = drawn @ root.T + has[:, None] * shared
        found.append(_remainder_auc(simulated - simulated.mean(0), d, has)[0])
    return Orthogonal(measured, over_seeds(found, "AUC"), explained)


def _remainder_auc(x: Tensor, direction: Tensor, has: Tensor) -> tuple[float, float]:
    """AUC of the direction on leave-one-out remainders, and the share of squared length that is not left."""
    gram = x @ x.T
    inverse = torch.linalg.pinv(gram, hermitian=True)
    own = inverse.diagonal()
    # Row i of G⁻¹X over its diagonal is x_i less its projection on all other rows.
    remainder = inverse @ x / own[:, None]
    left = remainder.square().sum() / x.square().sum()
    if len(x) > x.shape[1]:
        return float("nan"), float(1 - left)
    return auc(remainder @ direction, has), float(1 - left)


def auc(scores: Float[Tensor, " fact"], has: Bool[Tensor, " fact"]) -> float:
    """The probability that one who has the attribute scores above one who has not (ties count half)."""
    ranks, yes = rankdata(scores.double().cpu().numpy()), has.cpu().numpy()
    n, m = int(yes.sum()), int((~yes).sum())
    return float((ranks[yes].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def auc_of(scores: Float[Tensor, " fact"], has: Bool[Tensor, " fact"], *, seed: int = 0) -> Estimate:
    """`auc` with a bootstrap interval over facts."""
    return resampled(lambda facts: auc(scores[facts], has[facts]), len(scores), "AUC", seed=seed)


def aucs(values: Float[Tensor, "fact neuron"], has: Bool[Tensor, " fact"]) -> Float[np.ndarray, " neuron"]:
    """`auc` of every column."""
    ranks, yes = rankdata(values.double().cpu().numpy(), axis=0), has.cpu().numpy()
    n, m = int(yes.sum()), int((~yes).sum())
    found: np.ndarray = (ranks[yes].sum(0) - n * (n + 1) / 2) / (n * m)
    return found
