"""F8: an effective model of the lookup, found by taking away whatever the facts do without.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 2, where the reduction was made by
hand; here it is searched for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from jaxtyping import Int
from torch import Tensor

from oneway.anatomy.remaining import Reader
from oneway.engine import Patch, Site, Without
from oneway.engine.patch import MEAN

CONTEXT = "the context before and behind the name"


@dataclass(frozen=True, slots=True, eq=False)
class Simplified:
    """What was taken away, one step after the other, what is kept, and how much of the facts was left by each step.

    Steps were chosen on one half of the facts (`chosen_at`); `held_out` is the mechanistic probe's accuracy on the
    other half, `trained_probe` that of the trained one there. `patches` are put at `tokens`: that is the model.
    """

    steps: pl.DataFrame
    kept: tuple[str, ...]
    tokens: Int[Tensor, "fact pos"]
    patches: tuple[Patch, ...]


def simplify(
    reader: Reader,
    *,
    least: float = 0.9,
    told: Callable[[str, float], None] = lambda step, accuracy: None,
) -> Simplified:
    """Take away what costs the mechanistic probe least, again and again, until anything more would leave less than
    `least` of the accuracy that it began with. `told(step, accuracy)` is called after every step.

    First the context, if that can go at all: then the name alone is read. After it, on the name's last token in every
    layer that the head's input depends on: attention (its output at its mean over facts), the MLP (the same), the
    patterns (frozen at their mean), and attention to itself.
    """
    asked, judged = reader.asked, reader.held_out
    rows = []

    def accuracy(tokens: Tensor, runs: list[tuple[Patch, ...]]) -> list[dict[str, float]]:
        probe, trained = reader(tokens, tokens.shape[1] - 1, runs)
        return [
            {
                "chosen_at": float(one[~judged].mean()),
                "held_out": float(one[judged].mean()),
                "trained_probe": float(other[judged].mean()),
            }
            for one, other in zip(probe, trained, strict=True)
        ]

    def took(step: str, found: dict[str, float]) -> None:
        rows.append({"step": step, **found})
        told(step, found["chosen_at"])

    # Behind the name nothing can matter to it: attention looks back.
    tokens = asked.tokens[:, : asked.final + 1]
    (begun,) = accuracy(tokens, [()])
    took("nothing", begun)
    floor = least * begun["chosen_at"]
    (without,) = accuracy(asked.alone, [()])
    kept_context = without["chosen_at"] < floor
    if not kept_context:
        tokens = asked.alone
        took(CONTEXT, without)
    candidates = _candidates(reader.head[0], tokens.shape[1] - 1)
    taken: tuple[Patch, ...] = ()
    while candidates:
        names = list(candidates)
        found = accuracy(tokens, [(*taken, candidates[name]) for name in names])
        best = max(range(len(found)), key=lambda i: found[i]["chosen_at"])
        if found[best]["chosen_at"] < floor:
            break
        took(names[best], found[best])
        gone = candidates.pop(names[best])
        taken = (*taken, gone)
        candidates = {
            name: patch for name, patch in candidates.items() if not _pointless(patch.site, gone.site)
        }
    kept = ([CONTEXT] if kept_context else []) + list(candidates)
    return Simplified(pl.DataFrame(rows), tuple(kept), tokens, taken)


def _candidates(layers: int, at: int) -> dict[str, Patch]:
    found: dict[str, Patch] = {}
    for layer in range(layers):
        pattern = Site("pattern", layer, position=at)
        found |= {
            f"attention of layer {layer}": Patch(Site("attn_out", layer, position=at), MEAN),
            f"MLP of layer {layer}": Patch(Site("mlp_out", layer, position=at), MEAN),
            f"what steers attention of layer {layer}": Patch(pattern, MEAN),
            f"attention of layer {layer} to itself": Patch(pattern, Without((at,))),
        }
    return found


def _pointless(site: Site, gone: Site) -> bool:
    """Whether nothing is left to take away at a site: a pattern that is fixed, or whose output is."""
    return site.layer == gone.layer and site.kind == "pattern" and gone.kind in ("pattern", "attn_out")
