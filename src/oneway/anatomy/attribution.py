"""Which tokens the answer comes from: what each head says, split by the token it is read from.

Source: Chughtai et al. 2024, Summing Up the Facts (arXiv 2402.07321).
"""

from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.intervals import interval_table
from oneway.anatomy.probes import answer_directions
from oneway.engine import Engine, Site


@dataclass(frozen=True, slots=True, eq=False)
class BySource:
    """What each head adds, at the last position, to the right answer's score over the mean of the others, from each key
    token; in logits at the fixed scale of the final norm."""

    values: Float[Tensor, "layer head key fact"]
    asked: Asked

    def table(self) -> pl.DataFrame:
        """One row for each part of the prompt: all heads together, the mean over facts with its interval."""
        asked, total = self.asked, self.values.sum((0, 1))
        parts = {
            "in front": range(asked.front),
            "before the name": range(asked.front, asked.name.start),
            "the name before its last token": range(asked.name.start, asked.final),
            "the name's last token": range(asked.final, asked.final + 1),
            "behind the name": range(asked.final + 1, asked.last + 1),
        }
        summed = torch.stack([total[list(keys)].sum(0) for keys in parts.values()])
        found = interval_table(summed, ("part",), "effect")
        return found.with_columns(pl.Series("part", list(parts)))


def by_source(engine: Engine, asked: Asked) -> BySource:
    """Split every head's direct effect at the last position by the token it attends to: pattern · v W_O on the answers.

    The final norm's scale is each prompt's own, held fixed. What attention's output bias adds is no token's.
    """
    layers, last = range(engine.layers), asked.last
    directions = answer_directions(engine, asked)
    answers = directions.shape[1]
    against = (directions - directions.mean(1, keepdim=True)) * answers / (answers - 1)
    mine = against.T[asked.right.to(directions.device)]  # [fact d_model]
    sites = [Site("pattern", layer, position=last) for layer in layers] + [
        Site("v", layer) for layer in layers
    ]
    end = Site("resid_post", engine.layers - 1, position=last)
    found = engine.run(asked.tokens, [*sites, end])
    resid = found[end]
    centred = resid - resid.mean(-1, keepdim=True) if engine.form.norm == "layer" else resid
    scale = (centred.square().mean(-1) + engine.form.epsilon).rsqrt()
    group, values = engine.form.group, []
    for layer in layers:
        pattern, v = found[sites[layer]], found[sites[engine.layers + layer]].repeat_interleave(group, 2)
        read = torch.einsum("hde,fe->fhd", engine.weights.blocks[layer].W_O, mine * scale[:, None])
        values.append(torch.einsum("fhk,fkhd,fhd->hkf", pattern, v, read))
    return BySource(torch.stack(values).cpu(), asked)
