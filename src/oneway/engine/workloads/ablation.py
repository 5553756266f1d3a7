"""W3 and W4: what heads, MLPs and neurons at a position do to the answer, through all that comes after."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.engine import Engine
from oneway.engine.opened import Effects
from oneway.engine.patch import MEAN, Patch, Value
from oneway.engine.readout import Readout
from oneway.engine.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class ComponentEffects:
    """A measure with each head, and with each MLP, replaced; and with none."""

    heads: Float[Tensor, "layer head batch ..."]
    mlps: Float[Tensor, "layer batch ..."]
    clean: Float[Tensor, "batch ..."]


def by_component(engine: Engine, effects: Effects) -> ComponentEffects:
    """Effects of all heads, layer by layer, and then of all MLPs, by layer and head."""
    layers, heads = engine.layers, engine.form.heads
    of_heads, of_mlps = effects.patched[: layers * heads], effects.patched[layers * heads :]
    return ComponentEffects(of_heads.unflatten(0, (layers, heads)), of_mlps, effects.clean)


def total_effects(
    engine: Engine,
    tokens: Int[Tensor, "batch pos"],
    position: int,
    readout: Readout,
    value: Value = MEAN,
) -> ComponentEffects:
    """W3: the measure when one head's z, or one MLP's output, is replaced at a position, for each of them.

    `value` is what it is replaced by: its mean over the prompts, its value in another prompt (`Resample`), zero.
    Source: Vig et al. 2020; Meng et al. 2022; the Fact Finding sequence (Nanda et al. 2023), post 2.
    """
    layers = range(engine.layers)
    heads = [
        Patch(Site("z", layer, h, position), value) for layer in layers for h in range(engine.form.heads)
    ]
    mlps = [Patch(Site("mlp_out", layer, position=position), value) for layer in layers]
    return by_component(engine, engine.effects(tokens, [*heads, *mlps], readout))


def neuron_effects(
    engine: Engine,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    position: int,
    readout: Readout,
    *,
    neurons: Sequence[int] | None = None,
    value: Value = MEAN,
) -> Effects:
    """W4: the measure when one neuron (mlp_post) of a layer is replaced at a position, for each or for some.

    Source: the Fact Finding sequence, post 3.
    """
    chosen = range(engine.form.d_mlp) if neurons is None else neurons
    patches = [Patch(Site("mlp_post", layer, position=position, neuron=n), value) for n in chosen]
    return engine.effects(tokens, patches, readout)
