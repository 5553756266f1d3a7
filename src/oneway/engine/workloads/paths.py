"""W2 and W5: what reaches the answer directly, and what one MLP does through another."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.engine import Engine
from oneway.engine.patch import MEAN, Patch, Path, Value
from oneway.engine.readout import Readout
from oneway.engine.site import Site
from oneway.engine.workloads.ablation import ComponentEffects, by_component


def direct_effects(
    engine: Engine, tokens: Int[Tensor, "batch pos"], readout: Readout, value: Value = MEAN
) -> ComponentEffects:
    """W2: the measure when one head's or MLP's output is replaced, at the position that is read, in what the final norm
    reads only: along the direct path to the scores. The norm's scale is computed anew.

    Source: the Fact Finding sequence, post 2; Elhage et al. 2021.
    """
    at, layers = readout.position, range(engine.layers)
    to = Site("logits", position=at)
    heads = [
        Path(Patch(Site("z", layer, head, at), value), to)
        for layer in layers
        for head in range(engine.form.heads)
    ]
    mlps = [Path(Patch(Site("mlp_out", layer, position=at), value), to) for layer in layers]
    return by_component(engine, engine.effects(tokens, [*heads, *mlps], readout))


def mlp_path_effects(
    engine: Engine,
    tokens: Int[Tensor, "batch pos"],
    position: int,
    readout: Readout,
    *,
    layers: Sequence[int],
    value: Value = MEAN,
) -> Float[Tensor, "sender receiver batch ..."]:
    """W5: the change of the measure when an MLP's output at a position is replaced in what one later MLP reads.

    Everything else reads what it read before; what the later MLP then writes goes on to all that follows. Where the
    sender does not come before the receiver the change is zero. Source: the Fact Finding sequence, post 3.
    """
    pairs = [(i, j) for j in range(len(layers)) for i in range(len(layers)) if layers[i] < layers[j]]
    paths = [
        Path(
            Patch(Site("mlp_out", layers[i], position=position), value),
            Site("mlp_out", layers[j], position=position),
        )
        for i, j in pairs
    ]
    found = engine.effects(tokens, paths, readout)
    changes = found.clean.new_zeros((len(layers), len(layers), *found.clean.shape))
    for (i, j), change in zip(pairs, found.change, strict=True):
        changes[i, j] = change
    return changes
