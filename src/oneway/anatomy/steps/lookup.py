"""F7–F9 and the traps: where the lookup happens, and what is needed for it."""

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.extraction import log_odds
from oneway.anatomy.intervals import interval_table, resampled
from oneway.anatomy.lookup import path_runs, removals, trap_runs
from oneway.anatomy.remaining import Reader, Remaining
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.engine import Patch, Resample, Site
from oneway.engine.patch import MEAN
from oneway.engine.workloads import total_effects
from oneway.evidence.estimate import Estimate, over_facts

EARLY = 2  # layers whose attention the posts found to matter on the name


def where(specimen: Specimen) -> Finding:
    """The traps, before anything else: is the lookup on the name's last token, by its MLPs?"""
    runs = trap_runs(specimen.remaining)
    left = specimen.remaining(list(runs.values()))
    among = dict(zip(runs, left.among_answers, strict=True))
    hidden = {k: among[f"name hidden below layer {k}"] for k in range(1, specimen.engine.layers + 1)}
    half = round(specimen.engine.layers / 2)
    return Finding(
        {"traps": left.table(list(runs))},
        {
            "F7.clean": _share(among["nothing"]),
            "F7.patterns_frozen": _share(among["patterns of layer 0 on the name frozen"]),
            "F7.last_mlps_removed": _share(among["MLPs at the last position"]),
            "F7.name_mlps_removed": _share(among["MLPs on the name"]),
            "F7.hidden_half": _share(hidden[half]),
        },
    )


def attention(specimen: Specimen) -> Finding:
    """F7. Which heads matter on the name's last token; and what is left without attention there from some layer up."""
    engine, asked = specimen.engine, specimen.asked
    source = asked.others(seed=specimen.seed)
    found = total_effects(engine, asked.tokens, asked.final, log_odds(asked, source), Resample(source))
    lost = (found.clean - found.heads).double().cpu()  # [layer head fact]
    flat = lost.numpy()

    def early(facts: np.ndarray) -> float:
        positive = flat[:, :, facts].mean(2).clip(0)
        return float(positive[:EARLY].sum() / positive.sum()) if positive.sum() > 0 else np.nan

    runs = removals(specimen.remaining)
    left = specimen.remaining(list(runs.values()))
    removed = left.table([str(k) for k in runs]).with_columns(
        from_layer=pl.col("intervention").cast(pl.Int64)
    )
    measured = {
        "F7.early_heads": resampled(early, len(asked), "share"),
        "F7.no_attention": _share(left.among_answers[0]),
    }
    if engine.layers > EARLY:
        measured["F7.left"] = _share(left.among_answers[EARLY])
        measured["F7.left_probe"] = _share(_judged(left.trained[EARLY]))
    heads = interval_table(lost, ("layer", "head"), "effect")
    return Finding({"attention_removed": removed, "heads_on_name": heads}, measured)


def effective(specimen: Specimen) -> Finding:
    """F8. The simplest model of the lookup that the search finds, and the reduction of the posts: the name alone,
    patterns of the first two layers frozen, no attention above."""
    reader, judged = specimen.remaining.reader, specimen.remaining.reader.held_out
    found = specimen.simplified
    at = found.tokens.shape[1] - 1
    _, own = reader(found.tokens, at, [found.patches])
    _, published = reader(specimen.asked.alone, -1, [_sum_of_parts(reader, specimen)])
    parts = found.steps.height - 1 + len(found.kept)
    share = (found.steps.height - 1) / parts
    table = found.steps.with_row_index("number")
    kept = pl.DataFrame({"kept": list(found.kept)}, schema={"kept": pl.String})
    return Finding(
        {"simplification": table, "kept": kept},
        {
            "F8.effective": _share(own[0, judged]),
            "F8.sum": _share(published[0, judged]),
            "F8.taken_share": Estimate(share, share, share, parts, "share"),
        },
    )


def _sum_of_parts(reader: Reader, specimen: Specimen) -> tuple[Patch, ...]:
    at = specimen.asked.alone.shape[1] - 1
    patterns = [
        Patch(Site("pattern", layer, position=at), MEAN) for layer in range(min(EARLY, reader.head[0]))
    ]
    return (
        *patterns,
        *(Patch(Site("attn_out", la, position=at), MEAN) for la in range(EARLY, reader.head[0])),
    )


def composition(specimen: Specimen) -> Finding:
    """F9. Paths between the MLPs of the lookup; the rival, that they do the same in parallel, would lose nothing."""
    layers = specimen.lookup_layers
    if len(layers) < 2:
        raise CannotTell("fewer than two MLPs can look up the name: there is no path between them")
    runs = path_runs(specimen.remaining, layers)
    together = tuple(Patch(Site("mlp_out", la, position=specimen.asked.final), MEAN) for la in layers)
    runs["all of them"] = together
    left = specimen.remaining(list(runs.values()))
    hits = dict(zip(runs, left.probe, strict=True))
    clean = hits["nothing"]

    def lost(name: str) -> Float[Tensor, " fact"]:
        return clean - hits[name]

    firsts = {i: lost(f"{i} → all later") for i in layers[:-1]}
    alone = {i: lost(f"{i} alone") for i in layers}
    dearest = max(alone, key=lambda i: float(alone[i].mean()))
    measured = {
        "F9.clean": _share(clean),
        "F9.all_paths": _fall(lost("all paths")),
        "F9.together": _fall(lost("all of them")),
        "F9.alone": _fall(alone[dearest]),
        "F9.all_paths_nats": over_facts(
            (left.logprob[0] - left.logprob[list(runs).index("all paths")]).double().numpy(), "nats"
        ),
    }
    notes: tuple[str, ...] = ()
    if len(firsts) > 1:
        other = torch.stack([one for i, one in firsts.items() if i != layers[0]])
        dearest_other = other[int(other.mean(1).argmax())]
        measured["F9.from_first"] = over_facts(
            (firsts[layers[0]] - dearest_other).double().numpy(), "probability"
        )
    else:
        notes = ("F9.from_first: two MLPs have one path, there is no other to compare with",)
    return Finding({"mlp_paths": left.table(list(runs))}, measured, notes)


def by_length(specimen: Specimen) -> Finding:
    """Names of every length apart: what is left of each group's answers when one thing is taken away."""
    rows = []
    for group in (specimen.asked, *specimen.others):
        same = group is specimen.asked
        remaining = specimen.remaining if same else Remaining(specimen.engine, group, specimen.head)
        for name, among in _without(remaining).items():
            share = _share(among)
            rows.append(
                {"name_tokens": len(group.name), "facts": len(group), "without": name}
                | {"right": share.mean, "low": share.low, "high": share.high}
            )
    return Finding({"by_length": pl.DataFrame(rows), "groups": specimen.groups})


def _without(remaining: Remaining) -> dict[str, Float[Tensor, " fact"]]:
    wanted = ("nothing", "MLPs on the name", "MLPs at the last position")
    runs = {name: patches for name, patches in trap_runs(remaining).items() if name in wanted}
    if remaining.engine.layers > EARLY:
        runs[f"attention on the name from layer {EARLY}"] = removals(remaining)[EARLY]
    return dict(zip(runs, remaining(list(runs.values())).among_answers, strict=True))


def _share(hits: Float[Tensor, " fact"]) -> Estimate:
    return over_facts(hits.double().cpu().numpy(), "probability")


def _fall(lost: Float[Tensor, " fact"]) -> Estimate:
    """Of hits that are 0 or 1: what the intervention takes away."""
    return over_facts(lost.double().cpu().numpy(), "probability")


def _judged(hits: Float[Tensor, " fact"]) -> Float[Tensor, " judged"]:
    """Without the facts that a probe was trained on."""
    return hits[~hits.isnan()]


STEPS = (
    Step(
        id="traps",
        title="Where the lookup happens",
        measures=(
            *("F7.clean", "F7.patterns_frozen", "F7.last_mlps_removed"),
            *("F7.name_mlps_removed", "F7.hidden_half"),
        ),
        ask=where,
    ),
    Step(id="names", title="Names of every length", measures=(), ask=by_length),
    Step(
        id="F7",
        title="Attention on the name",
        measures=("F7.early_heads", "F7.no_attention", "F7.left", "F7.left_probe"),
        ask=attention,
    ),
    Step(
        id="F8",
        title="The effective model",
        measures=("F8.effective", "F8.sum", "F8.taken_share"),
        ask=effective,
    ),
    Step(
        id="F9",
        title="Paths between MLPs",
        measures=(
            *("F9.clean", "F9.all_paths", "F9.together", "F9.alone"),
            *("F9.all_paths_nats", "F9.from_first"),
        ),
        ask=composition,
    ),
)
