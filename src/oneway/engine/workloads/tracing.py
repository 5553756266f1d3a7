"""Causal tracing: noise on the subject, and one state restored."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.engine import Engine
from oneway.engine.opened import Effects
from oneway.engine.patch import Frozen, Patch
from oneway.engine.readout import Readout
from oneway.engine.site import Kind, Site


def causal_trace(
    engine: Engine,
    tokens: Int[Tensor, "batch pos"],
    subject: Sequence[int],
    readout: Readout,
    *,
    noise: float,
    seed: int = 0,
    kind: Kind = "resid_post",
    window: int = 1,
) -> tuple[Float[Tensor, "layer pos batch ..."], Effects]:
    """The measure with noise on the subject's embeddings and the clean state restored at one position in a window of
    layers, for every layer (the window's middle) and position; and the measure with the noise alone, and without.

    The noise is normal, of standard deviation `noise` times that of the embeddings at these positions, and the same
    in all runs. Source: Meng et al. 2022 (ROME), Sec. 2.1; noise of 3 standard deviations and a window of 10 layers
    for MLPs and attention there.
    """
    embedding = Site("embedding")
    clean = engine.run(tokens, [embedding])[embedding]
    at = list(subject)
    drawn = torch.randn(clean[:, at].shape, generator=torch.Generator().manual_seed(seed))
    scale = noise * float(clean[:, at].std())
    corrupt = tuple(
        Patch(Site("embedding", position=position), clean[:, position] + scale * drawn[:, i].to(clean))
        for i, position in enumerate(at)
    )
    layers, positions = range(engine.layers), range(tokens.shape[1])
    restored = [
        corrupt
        + tuple(
            Patch(Site(kind, near, position=position), Frozen())
            for near in range(max(0, layer - (window - 1) // 2), min(engine.layers, layer + window // 2 + 1))
        )
        for layer in layers
        for position in positions
    ]
    found = engine.effects(tokens, [corrupt, *restored], readout)
    return found.patched[1:].unflatten(0, (len(layers), len(positions))), Effects(
        found.patched[:1], found.clean
    )
