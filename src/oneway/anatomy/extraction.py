"""F1–F3: which heads and MLPs say the answer, where those heads look, and what they read there.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 2. An effect is how far the log-odds
of the right answer against another athlete's fall when a component's value is taken from that other athlete's prompt:
positive where the component speaks for the right answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.intervals import interval_table, rank_correlation
from oneway.engine import Engine, LogitDifference, Patch, Path, Resample, Site
from oneway.engine.workloads import attention_patterns, direct_effects, total_effects

Head = tuple[int, int]  # layer and head


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """How much each head and each MLP speaks for the right answer, in logits: the fall of the log-odds without it."""

    heads: Float[Tensor, "layer head fact"]
    mlps: Float[Tensor, "layer fact"]
    clean: Float[Tensor, " fact"]

    def table(self) -> pl.DataFrame:
        """One row a component (an MLP has no head), the strongest first: its mean over facts with its interval."""
        heads = interval_table(self.heads, ("layer", "head"), "effect")
        mlps = interval_table(self.mlps, ("layer",), "effect").with_columns(head=pl.lit(None, pl.Int64))
        return pl.concat([heads, mlps.select(heads.columns)]).sort("effect", descending=True)

    def top_heads(self, count: int) -> list[Head]:
        """The heads with the largest mean effects, strongest first."""
        mean = self.heads.mean(-1)
        order = mean.flatten().argsort(descending=True)[:count].tolist()
        return [divmod(index, mean.shape[1]) for index in order]

    @property
    def share_of_top_head(self) -> float:
        """The largest mean effect of a head over the sum of all positive ones."""
        mean = self.heads.mean(-1).clamp_min(0)
        return float(mean.max() / mean.sum()) if mean.sum() > 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """F1: effects along the direct path to the scores, beside those through everything that comes after.

    `agreement` is the rank correlation of the two over all components: what claims an effect must foretell what the
    intervention does.
    """

    direct: Effects
    total: Effects

    @property
    def agreement(self) -> float:
        return rank_correlation(
            *(torch.cat((e.heads.mean(-1).flatten(), e.mlps.mean(-1))) for e in (self.direct, self.total))
        )


def log_odds(asked: Asked, source: Sequence[int]) -> LogitDifference:
    """The log-odds of each prompt's right answer against that of the prompt which it takes values from."""
    right = asked.right_token
    return LogitDifference(right=right, wrong=right[list(source)])


def direct(engine: Engine, asked: Asked, *, seed: int = 0) -> Direct:
    """F1: path-patch every head and MLP at the last position from another fact's prompt, straight to the scores.

    Claim: a sparse set matters. The value of another fact with another answer takes the component's place (resample);
    the final norm's scale is computed anew.
    """
    source = asked.others(seed=seed)
    readout, value = log_odds(asked, source), Resample(source)
    along = direct_effects(engine, asked.tokens, readout, value)
    through = total_effects(engine, asked.tokens, asked.last, readout, value)
    return Direct(
        *(
            Effects(found.clean - found.heads, found.clean - found.mlps, found.clean)
            for found in (along, through)
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class Looking:
    """F2: how heads share out their attention at the last position; `of_name` is the part on the name's last token."""

    heads: tuple[Head, ...]
    pattern: Float[Tensor, "chosen fact key"]
    final: int

    @property
    def of_name(self) -> Float[Tensor, "chosen fact"]:
        return self.pattern[..., self.final]

    def table(self) -> pl.DataFrame:
        """One row a head and key position: mean attention over facts with its interval."""
        found = interval_table(self.pattern.transpose(1, 2), ("chosen", "key"), "attention")
        layers, heads = (pl.Series(part) for part in zip(*self.heads, strict=True))
        named = found.with_columns(layer=layers[found["chosen"]], head=heads[found["chosen"]])
        return named.drop("chosen").select("layer", "head", "key", "attention", "low", "high", "n")


def looking(engine: Engine, asked: Asked, heads: Sequence[Head]) -> Looking:
    """F2: the attention of heads from the last position. Claim: they look at the name's last token, else at resting
    positions."""
    patterns = {
        layer: attention_patterns(engine, asked.tokens, layer, asked.last) for layer in {h[0] for h in heads}
    }
    chosen = torch.stack([patterns[layer][:, head] for layer, head in heads])
    return Looking(tuple(heads), chosen.cpu(), asked.final)


def reading(engine: Engine, asked: Asked, head: Head, *, seed: int = 0) -> Effects:
    """F3: what a head reads on the name's last token: the effect of every head and MLP before it, through its OV alone.

    Each component's output at the name's last token is taken from another fact's prompt in what the head's values read
    there; nothing else sees the change. Components that write after the head reads have no effect. Claim: later heads
    read the first one's own output there (V-composition), and that one reads MLPs.
    """
    layer, number = head
    source = asked.others(seed=seed)
    readout, value, form = log_odds(asked, source), Resample(source), engine.form
    receiver = Site("v", layer, number // form.group, asked.final)
    senders = [Site("z", before, h, asked.final) for before in range(layer) for h in range(form.heads)]
    senders += [Site("mlp_out", before, position=asked.final) for before in range(layer)]
    found = engine.effects(asked.tokens, [Path(Patch(site, value), receiver) for site in senders], readout)
    clean = found.clean
    heads, mlps = (
        clean.new_zeros((form.layers, form.heads, len(clean))),
        clean.new_zeros((form.layers, len(clean))),
    )
    of_heads = layer * form.heads
    heads[:layer] = -found.change[:of_heads].unflatten(0, (layer, form.heads)) if layer else 0
    mlps[:layer] = -found.change[of_heads:]
    return Effects(heads, mlps, clean)
