"""W1: the residual stream at one position after every layer."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.opened import Opened
from oneway.engine.site import Kind, Site


def residuals(
    opened: Opened,
    tokens: Int[Tensor, "batch pos"],
    position: int,
    *,
    layers: Sequence[int] | None = None,
    kind: Kind = "resid_post",
) -> Float[Tensor, "batch layer d_model"]:
    """The residual stream (or another site of width d_model) at a position, after every layer or after some.

    The prompts stream through: memory beyond the result does not grow with them. Raises as `Opened.run` does.
    """
    sites = [
        Site(kind, layer, position=position) for layer in (range(opened.layers) if layers is None else layers)
    ]
    whole: Tensor | None = None
    for rows, found in opened.stream(tokens, sites):
        if whole is None:
            one = found[sites[0]]
            whole = one.new_empty((len(tokens), len(sites), one.shape[-1]))
        for number, site in enumerate(sites):
            whole[rows, number] = found[site]
    assert whole is not None
    return whole
