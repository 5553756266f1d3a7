"""Where heads look, and what is lost when they may not."""

from collections.abc import Iterable, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.engine import Engine
from oneway.engine.opened import Effects
from oneway.engine.patch import Patch, Without
from oneway.engine.readout import Readout
from oneway.engine.site import Site


def attention_patterns(
    engine: Engine, tokens: Int[Tensor, "batch pos"], layer: int, position: int = -1
) -> Float[Tensor, "batch head key"]:
    """How a layer's heads share out their attention at a position."""
    site = Site("pattern", layer, position=position)
    return engine.run(tokens, [site])[site]


def attention_knockout(
    engine: Engine,
    tokens: Int[Tensor, "batch pos"],
    position: int,
    keys: Sequence[int],
    readout: Readout,
    *,
    windows: Iterable[Sequence[int]] | None = None,
) -> Effects:
    """The measure when a position cannot attend to some keys in a window of layers, for each window (default: each
    layer alone).

    Source: Geva et al. 2023, Dissecting Recall of Factual Associations in Auto-Regressive Language Models.
    """
    windows = [(layer,) for layer in range(engine.layers)] if windows is None else windows
    runs = [
        tuple(Patch(Site("pattern", layer, position=position), Without(tuple(keys))) for layer in window)
        for window in windows
    ]
    return engine.effects(tokens, runs, readout)
