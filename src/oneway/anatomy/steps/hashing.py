"""F13–F16: is the name hashed before it is looked up?"""

import math

import numpy as np
import polars as pl
import torch

from oneway.anatomy.hashing import (
    broken_linearity,
    effective_streams,
    norms,
    orthogonal_remainder,
    probes_through,
)
from oneway.anatomy.intervals import resampled
from oneway.anatomy.probes import chance, held_out_hits
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.engine import Site
from oneway.evidence.estimate import Estimate, over_facts, over_seeds

DRAWS, SHARE = 20, 0.6  # of names fewer than dimensions; the posts have 1,500 in 2,560


def rises(specimen: Specimen) -> Finding:
    """F13. A probe through the layers of the effective model. `jump`: the largest step's share of the whole rise."""
    found = specimen.simplified
    streams = effective_streams(specimen.engine, found)
    hits = np.stack([held_out_hits(one, specimen.asked.right, seed=specimen.seed) for one in streams])
    level = chance(specimen.asked.right)

    def jump(facts: np.ndarray) -> float:
        accuracy = hits[:, facts].mean(1)
        rise = accuracy.max() - accuracy[0]
        return float(np.diff(accuracy).max() / rise) if rise > 0 else np.nan

    splits = specimen.sizes.splits
    return Finding(
        {
            "probes_through": probes_through(
                specimen.engine, specimen.asked, found, splits=splits, seed=specimen.seed
            )
        },
        {
            "F13.summed": over_facts(hits[0], "probability"),
            "F13.chance": Estimate(level, level, level, len(specimen.asked), "probability"),
            "F13.end": over_facts(hits[-1], "probability"),
            "F13.jump": resampled(jump, hits.shape[1], "share"),
        },
    )


def lengths(specimen: Specimen) -> Finding:
    """F14. Norms of MLP outputs on known names over those on unknown pairs of their parts, a mean over the lookup's
    MLPs; and with known and unknown drawn at random, which has to give 1."""
    names, layers = specimen.names, list(specimen.lookup_layers)
    if int((~names.known).sum()) < 20:
        raise CannotTell("fewer than 20 pairs of the names' parts are unknown")
    found = norms(specimen.engine, names, seed=specimen.seed)
    of_each = found.ratios[:, layers].mean(1)
    return Finding(
        {"norms": found.table()},
        {
            "F14.ratio": over_facts(of_each.double().numpy(), "ratio"),
            "F14.first": over_facts(found.ratios[:, layers[0]].double().numpy(), "ratio"),
        },
    )


def breaks(specimen: Specimen) -> Finding:
    """F15. How far MLP outputs and residual stream are from adding up what a name's parts bring, a mean over the
    lookup's layers: of known names, of unknown ones, and with shuffled weights."""
    layers = list(specimen.lookup_layers)
    try:
        table = broken_linearity(
            specimen.engine, specimen.names, pairs=specimen.sizes.quadruples, seed=specimen.seed
        )
    except ValueError as error:
        raise CannotTell(str(error)) from error
    chosen = table.filter(pl.col("layer").is_in(layers))

    def mean(of: str, kind: str) -> Estimate:
        rows = chosen.filter((pl.col("of") == of) & pl.col("names").str.starts_with(kind))
        if kind == "known":
            rows = rows.filter(pl.col("names") == "known")
        # Layers see the same names: their mean is no surer than one of them.
        half = float((rows["high"] - rows["low"]).to_numpy().mean()) / 2
        middle = float(rows["broken"].to_numpy().mean())
        return Estimate(middle, middle - half, middle + half, int(rows["n"][0]), "broken")

    return Finding(
        {"linearity": table},
        {
            "F15.mlps": mean("mlp_out", "known"),
            "F15.mlps_unknown": mean("mlp_out", "unknown"),
            "F15.mlps_shuffled": mean("mlp_out", "known, weights shuffled"),
            "F15.stream": mean("resid_post", "known"),
        },
    )


def misleads(specimen: Specimen) -> Finding:
    """F16. The orthogonal remainder, with the null that shows why it misleads. Fewer names than dimensions are needed:
    they are drawn several times."""
    engine, asked, neuron = specimen.engine, specimen.asked, specimen.attribute_neuron
    has = asked.right == asked.labels.index(neuron.label)
    site = Site("mlp_in", neuron.layer, position=asked.final)
    resid = engine.run(asked.tokens, [site])[site].cpu()
    into = engine.weights.blocks[neuron.layer].W_in[:, neuron.neuron].cpu()
    count = min(len(asked), round(SHARE * resid.shape[1]))
    draws = 1 if count == len(asked) else DRAWS
    rng, rows = np.random.default_rng(specimen.seed), []
    for number in range(draws):
        chosen = torch.from_numpy(np.sort(rng.permutation(len(asked))[:count]))
        if min(int(has[chosen].sum()), int((~has[chosen]).sum())) < 2:
            continue
        found = orthogonal_remainder(resid[chosen], into, has[chosen], seed=specimen.seed + number)
        # How far one simulated table lies from the mean of all: what one measured table is compared with.
        spread = (found.null.high - found.null.low) / 2 * math.sqrt(found.null.n)
        rows.append(
            {"auc": found.measured, "null": found.null.mean, "spread": spread, "explained": found.explained}
        )
    if not rows:
        raise CannotTell(f"of {count} names too few have the answer {neuron.label}, or too few have not")
    table = pl.DataFrame(rows)
    auc, beyond = table["auc"].to_numpy(), (table["auc"] - table["null"]).to_numpy()
    if len(rows) > 1:
        measured = {"F16.auc": over_seeds(auc, "AUC"), "F16.beyond_null": over_seeds(beyond, "AUC")}
    else:
        half = rows[0]["spread"]
        measured = {
            name: Estimate(float(x), float(x) - half, float(x) + half, count, "AUC")
            for name, x in (("F16.auc", auc[0]), ("F16.beyond_null", beyond[0]))
        }
    return Finding({"remainder": table}, measured)


STEPS = (
    Step(
        id="F13",
        title="A probe through the effective model",
        measures=("F13.summed", "F13.chance", "F13.end", "F13.jump"),
        ask=rises,
    ),
    Step(id="F14", title="Known and unknown names", measures=("F14.ratio", "F14.first"), ask=lengths),
    Step(
        id="F15",
        title="Broken linear structure",
        measures=("F15.mlps", "F15.mlps_unknown", "F15.mlps_shuffled", "F15.stream"),
        ask=breaks,
    ),
    Step(id="F16", title="A test that misleads", measures=("F16.auc", "F16.beyond_null"), ask=misleads),
)
