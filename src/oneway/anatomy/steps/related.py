"""Neighbouring methods on the same facts: attribution by source, knockout, attributes rate, tracing, linear maps."""

import polars as pl

from oneway.anatomy.attributes import attributes_rate
from oneway.anatomy.attribution import by_source
from oneway.anatomy.intervals import interval_table
from oneway.anatomy.linear_relation import EXAMPLES, judge_relation, linear_relation
from oneway.anatomy.memorisation_score import memorisation_score
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.engine import LogProbability
from oneway.engine.workloads import attention_knockout, causal_trace
from oneway.evidence.estimate import Estimate

NOISE = 3.0  # of causal tracing, in standard deviations of the embeddings
WIDEST_LRE = 1024  # a Jacobian costs two runs a dimension


def guessed(specimen: Specimen) -> Finding:
    """How much of the relation the names tell without any model: what is left has to be learnt by heart (F17)."""
    known = specimen.table.with_facts(specimen.asked.facts)
    try:
        score = memorisation_score(known, specimen.relation, seed=specimen.seed)
    except ValueError as error:
        raise CannotTell(str(error)) from error
    rows = [{"classifier": name, "accuracy": share} for name, share in score.by_classifier.items()]
    rows += [{"classifier": "best on shuffled answers", "accuracy": score.shuffled}]
    rows += [{"classifier": "most frequent answer", "accuracy": score.base_rate}]
    return Finding(
        {"memorisation_score": pl.DataFrame(rows)},
        {"F17.guessed_above_chance": score.above_chance, "F17.memorised": score.memorised},
    )


def sources(specimen: Specimen) -> Finding:
    """Which part of the prompt the answer's score comes from (Chughtai et al. 2024)."""
    return Finding({"by_source": by_source(specimen.engine, specimen.asked).table()})


def knocked_out(specimen: Specimen) -> Finding:
    """log p(right) when the last position may not attend to one part of the prompt, in a window of layers (Geva et al.
    2023; the window is a fifth of the layers)."""
    engine, asked = specimen.engine, specimen.asked
    reach = max(1, round(engine.layers / 5))
    windows = [
        range(max(0, layer - reach // 2), min(engine.layers, layer - reach // 2 + reach))
        for layer in range(engine.layers)
    ]
    parts = {
        "the name": range(asked.name.start, asked.name.stop),
        "before the name": range(asked.front, asked.name.start),
        "behind the name": range(asked.name.stop, asked.last),
    }
    readout, frames = LogProbability(answer=asked.right_token), []
    for part, keys in parts.items():
        if len(keys):
            found = attention_knockout(engine, asked.tokens, asked.last, list(keys), readout, windows=windows)
            table = interval_table(found.change, ("layer",), "change")
            frames.append(table.with_columns(blocked=pl.lit(part)))
    return Finding({"knockout": pl.concat(frames)})


def attributes(specimen: Specimen) -> Finding:
    """How many of the fifty likeliest tokens, read off the name's last token after every layer, are answers of any of
    the entity's facts (Geva et al. 2023)."""
    return Finding({"attributes_rate": attributes_rate(specimen.engine, specimen.asked, specimen.table)})


def traced(specimen: Specimen) -> Finding:
    """Causal tracing: noise on the name, one state restored (Meng et al. 2022). Where restoring helps most is not the
    layer to edit (Hase et al. 2023): it says where information passes, not where it is kept."""
    few = specimen.asked.only(range(min(specimen.sizes.traced, len(specimen.asked))))
    readout = LogProbability(answer=few.right_token)
    frames = []
    for kind in ("resid_post", "mlp_out", "attn_out"):
        restored, corrupt = causal_trace(
            specimen.engine, few.tokens, few.name, readout, noise=NOISE, seed=specimen.seed, kind=kind
        )
        found = interval_table((restored - corrupt.patched[0]).cpu(), ("layer", "position"), "restored")
        frames.append(found.with_columns(site=pl.lit(kind)))
    return Finding({"tracing": pl.concat(frames)})


def linear(specimen: Specimen) -> Finding:
    """The relation as one affine map from the name's last token to the answer (Hernandez et al. 2023)."""
    engine, asked = specimen.engine, specimen.asked
    if engine.form.d_model > WIDEST_LRE:
        raise CannotTell(f"a Jacobian of {engine.form.d_model} dimensions is not computed above {WIDEST_LRE}")
    if len(asked) < 4 * EXAMPLES:
        raise CannotTell(f"{len(asked)} facts are too few to fit on {EXAMPLES} and judge on the others")
    rows, best = [], None
    few = asked.only(range(min(len(asked), 10 * specimen.sizes.traced)))
    for layer in sorted({specimen.head[0] - 1, engine.layers // 2}):
        relation = linear_relation(engine, few, layer, seed=specimen.seed)
        judged = judge_relation(engine, few, relation, seed=specimen.seed)
        measures: dict[str, Estimate] = {
            "faithful": judged.faithful,
            "right": judged.right,
            "causal": judged.causal.follows,
        }
        rows += [
            {"layer": layer, "measure": name, "share": one.mean, "low": one.low, "high": one.high}
            for name, one in measures.items()
        ]
        best = max(best or judged, judged, key=lambda one: one.faithful.mean)
    assert best is not None
    return Finding(
        {"linear_relation": pl.DataFrame(rows)},
        {"F19.lre_faithful": best.faithful, "F19.lre_causal": best.causal.follows},
    )


STEPS = (
    Step(
        id="guessing",
        title="How much the names tell by themselves",
        measures=("F17.guessed_above_chance", "F17.memorised"),
        ask=guessed,
    ),
    Step(id="sources", title="Which tokens the answer comes from", measures=(), ask=sources),
    Step(id="knockout", title="Attention knocked out", measures=(), ask=knocked_out),
    Step(id="attributes", title="Attributes on the name", measures=(), ask=attributes),
    Step(id="tracing", title="Causal tracing", measures=(), ask=traced),
    Step(
        id="linear",
        title="The relation as a linear map",
        measures=("F19.lre_faithful", "F19.lre_causal"),
        ask=linear,
    ),
)
