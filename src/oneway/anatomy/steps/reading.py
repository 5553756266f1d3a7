"""F4–F6: the answer read off the name's last token: by weights, by a trained probe, by layer, without context."""

import numpy as np
import polars as pl
import torch

from oneway.anatomy.probes import (
    best_head,
    by_layer,
    chance,
    held_out_hits,
    mechanistic_probe,
    streams,
    subspace_patching,
    without_context,
)
from oneway.anatomy.specimen import Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.evidence.estimate import Estimate, over_facts, over_pairs


def probed(specimen: Specimen) -> Finding:
    """F4. The mechanistic probe, beside a trained one, the best of all heads, and chance; and whether it is causal."""
    engine, asked, head = specimen.engine, specimen.asked, specimen.head
    mechanistic = mechanistic_probe(engine, asked, head)
    stream = streams(engine, asked.tokens, asked.final)[head[0]]
    trained = over_facts(held_out_hits(stream, asked.right, seed=specimen.seed), "probability")
    shuffled = asked.right[torch.from_numpy(np.random.default_rng(specimen.seed).permutation(len(asked)))]
    searched = best_head(engine, asked, seed=specimen.seed)
    swapped = subspace_patching(engine, asked, head, seed=specimen.seed)
    level = chance(asked.right)
    measured = {
        "F4.probe": mechanistic.accuracy,
        "F4.trained": trained,
        "F4.shuffled": over_facts(held_out_hits(stream, shuffled, seed=specimen.seed), "probability"),
        "F4.searched": searched.held_out,
        "F4.chance": Estimate(level, level, level, len(asked), "probability"),
        "F4.follows": swapped["probe"].follows,
        "F4.follows_random": swapped["random"].follows,
        "F4.follows_all": swapped["all"].follows,
    }
    rows = [
        {"patched": name, "follows": one.follows.mean, "low": one.follows.low, "high": one.follows.high}
        | {"keeps": one.keeps.mean}
        for name, one in swapped.items()
    ]
    probes = {
        "the head's weights": "F4.probe",
        "trained": "F4.trained",
        "trained on shuffled answers": "F4.shuffled",
    }
    probes[f"best of all heads: {searched.head[0]}.{searched.head[1]}"] = "F4.searched"
    told = [
        {"probe": name, "accuracy": measured[key].mean, "low": measured[key].low, "high": measured[key].high}
        for name, key in probes.items()
    ]
    return Finding({"probes": pl.DataFrame(told), "swapped": pl.DataFrame(rows)}, measured)


def layers(specimen: Specimen) -> Finding:
    """F5. A probe after every layer; how much of what it reads before the extracting head is there after a quarter and
    after half of the layers."""
    engine, asked = specimen.engine, specimen.asked
    stream = streams(engine, asked.tokens, asked.final)
    hits = [held_out_hits(one, asked.right, seed=specimen.seed) for one in stream]
    at_end = hits[specimen.head[0]]
    quarter, half = (hits[max(1, round(engine.layers * part))] for part in (0.25, 0.5))
    return Finding(
        {"by_layer": by_layer(engine, asked, splits=specimen.sizes.splits, seed=specimen.seed)},
        {
            "F5.embedding": over_facts(hits[0], "probability"),
            "F5.at_head": over_facts(at_end, "probability"),
            "F5.lost_at_quarter": over_pairs(quarter, at_end, "probability"),
            "F5.lost_at_half": over_pairs(half, at_end, "probability"),
        },
    )


def alone(specimen: Specimen) -> Finding:
    """F6. The same on the name alone, at the layer of the extracting head: a probe of its own, and the one trained in
    context."""
    engine, asked, at = specimen.engine, specimen.asked, specimen.head[0]
    inside = streams(engine, asked.tokens, asked.final)[at]
    outside = streams(engine, asked.alone, -1)[at]
    hits = held_out_hits(inside, asked.right, seed=specimen.seed)
    own = held_out_hits(outside, asked.right, seed=specimen.seed)
    carried = held_out_hits(inside, asked.right, tested_on=outside, seed=specimen.seed)
    return Finding(
        {"without_context": without_context(engine, asked, splits=specimen.sizes.splits, seed=specimen.seed)},
        {
            "F6.in_context": over_facts(hits, "probability"),
            "F6.lost": over_pairs(own, hits, "probability"),
            "F6.lost_carried": over_pairs(carried, hits, "probability"),
        },
    )


STEPS = (
    Step(
        id="F4",
        title="The answer read by weights alone",
        measures=(
            *("F4.probe", "F4.trained", "F4.shuffled", "F4.searched", "F4.chance"),
            *("F4.follows", "F4.follows_random", "F4.follows_all"),
        ),
        ask=probed,
    ),
    Step(
        id="F5",
        title="How early it can be read",
        measures=("F5.embedding", "F5.at_head", "F5.lost_at_quarter", "F5.lost_at_half"),
        ask=layers,
    ),
    Step(
        id="F6",
        title="Without context",
        measures=("F6.in_context", "F6.lost", "F6.lost_carried"),
        ask=alone,
    ),
)
