"""F7–F9 and the traps: what the lookup on the name's last token needs, found by taking away.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), posts 2 and 3.
"""

from collections.abc import Iterable

import polars as pl

from oneway.anatomy.remaining import Remaining
from oneway.engine import Patch, Path, Site, Without
from oneway.engine.patch import MEAN, Value

Step = tuple[str, tuple[Patch, ...]]  # what is taken away, in words and as patches


def attention_removed(remaining: Remaining) -> pl.DataFrame:
    """F7: attention on the name's last token mean-ablated from layer k up, for every k; k = the number of layers takes
    nothing away. Claim: only the first layers' attention matters there.
    """
    runs = removals(remaining)
    found = remaining(list(runs.values())).table([str(k) for k in runs])
    return found.with_columns(pl.col("intervention").cast(pl.Int64).alias("from_layer"))


def removals(remaining: Remaining) -> dict[int, tuple[Patch, ...]]:
    """The interventions of `attention_removed` by the layer from which attention is gone."""
    layers, at = remaining.engine.layers, remaining.asked.final
    return {k: _each("attn_out", range(k, layers), at) for k in range(layers + 1)}


def traps(remaining: Remaining) -> pl.DataFrame:
    """Where the lookup happens, asked before how: high recall alone hides it.

    * patterns frozen: every pattern of the first layer on the name's last token at its mean over the facts: attention
      patterns alone can do part of a lookup;
    * last position's MLPs: mean-ablated at the last position in every layer: they can look up what heads bring there;
    * all MLPs of the name: mean-ablated on the name's last token: what is left was not looked up there;
    * name hidden below layer k: no position behind the name may attend to it in layers below k: from which layer on
      the name's last token is read.
    """
    runs = trap_runs(remaining)
    return remaining(list(runs.values())).table(list(runs))


def trap_runs(remaining: Remaining) -> dict[str, tuple[Patch, ...]]:
    """The interventions of `traps` by what they take away."""
    asked, layers = remaining.asked, range(remaining.engine.layers)
    behind = range(asked.final + 1, asked.last + 1)
    runs: dict[str, tuple[Patch, ...]] = {
        "nothing": (),
        "patterns of layer 0 on the name frozen": (Patch(Site("pattern", 0, position=asked.final), MEAN),),
        "MLPs at the last position": _each("mlp_out", layers, asked.last),
        "MLPs on the name": _each("mlp_out", layers, asked.final),
    }
    for k in range(1, remaining.engine.layers + 1):
        runs[f"name hidden below layer {k}"] = tuple(
            Patch(Site("pattern", layer, position=position), Without(tuple(asked.name)))
            for layer in range(k)
            for position in behind
        )
    return runs


def paths_between_mlps(remaining: Remaining, layers: Iterable[int]) -> pl.DataFrame:
    """F9: every path from an MLP to a later one mean-ablated on the name's last token.

    Claim: it costs accuracy, so there are intermediate products. The rival: these MLPs do the same in parallel, which
    the rows "each alone" (one MLP ablated everywhere) and "all paths" let one tell: parallel copies lose little by any
    single path and little by all of them.
    """
    runs = path_runs(remaining, layers)
    return remaining(list(runs.values())).table(list(runs))


def path_runs(remaining: Remaining, layers: Iterable[int]) -> dict[str, tuple[Patch | Path, ...]]:
    """The interventions of `paths_between_mlps` by what they take away."""
    at, chosen = remaining.asked.final, list(layers)
    runs: dict[str, tuple[Patch | Path, ...]] = {"nothing": ()}
    paths = {
        (i, j): Path(Patch(Site("mlp_out", i, position=at), MEAN), Site("mlp_out", j, position=at))
        for j in chosen
        for i in chosen
        if i < j
    }
    runs |= {f"{i} → {j}": (path,) for (i, j), path in paths.items()}
    runs |= {f"{i} → all later": tuple(p for (a, _), p in paths.items() if a == i) for i in chosen[:-1]}
    runs["all paths"] = tuple(paths.values())
    runs |= {f"{i} alone": (Patch(Site("mlp_out", i, position=at), MEAN),) for i in chosen}
    return runs


def _each(kind: str, layers: Iterable[int], position: int, value: Value = MEAN) -> tuple[Patch, ...]:
    return tuple(Patch(Site(kind, layer, position=position), value) for layer in layers)  # type: ignore[arg-type]
