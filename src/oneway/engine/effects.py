"""A measure under each of many interventions on the same prompts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from oneway.engine.forward import forward, goal_of
from oneway.engine.path import edited_sites, followed, path_sites
from oneway.engine.prepared import Prepared, ScoresOf
from oneway.engine.readout import Readout
from oneway.engine.rerun import Start, reaches, rerun, sites_of, start_of
from oneway.engine.settle import PatchError, Settled
from oneway.engine.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is held at a time: bytes of one layer's widest activation, and of what all layers keep."""

    activation: int = 16 * 2**20
    kept: int = 256 * 2**20


@torch.inference_mode()
def measured(
    model: Prepared,
    tokens: Int[Tensor, "batch pos"],
    interventions: Sequence[Settled],
    readout: Readout,
    at: Site,
    activation: int,
) -> tuple[Tensor, Tensor]:
    """The measure without interventions, [batch …], and with each of them, [intervention batch …].

    `at` is the residual stream that the readout reads; `activation`, how many bytes the widest activation may have.
    """
    assert at.layer is not None
    assert at.position is not None
    until, position, length = at.layer, at.position, tokens.shape[1]
    groups: dict[Start, list[int]] = defaultdict(list)
    for number, one in enumerate(interventions):
        edited = [_in_the_stream(site) for site in edited_sites(one, model, length)]
        if any(site.kind in ("final_norm", "logits") for site in edited):
            raise PatchError("final_norm and logits come after what effects are read from: use run")
        start = start_of(edited, position + 1)
        if reaches(start, until, position):
            groups[start].append(number)
    live = [number for numbers in groups.values() for number in numbers]
    reads = {site for start in groups for site in sites_of(start, model, position + 1)}
    reads |= {site for number in live for site in path_sites(interventions[number], model, length)}
    reads = {site for site in reads if site.position is None or site.position <= position}
    wanted = sorted(reads | {at}, key=str)
    since = min((start.first for start in groups), default=position)
    clean = forward(
        model,
        tokens,
        wanted,
        goal=goal_of(wanted, model.form.layers, length),
        since=since if groups else None,
    )
    without = readout(ScoresOf(model, clean.found[at][None]))[0]
    patched = without.expand(len(interventions), *without.shape).clone()
    for start, numbers in groups.items():
        rows = len(tokens) * (position + 1 - start.first)
        step = max(1, activation // (rows * model.form.d_mlp * without.element_size()))
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            runs = [
                tuple(replace(edit, site=_in_the_stream(edit.site)) for edit in edits)
                for edits in (followed(model, interventions[n], clean.found, length) for n in some)
            ]
            resid = rerun(model, clean, runs, start, until, position)
            patched[some] = readout(ScoresOf(model, resid))
    return without, patched


def _in_the_stream(site: Site) -> Site:
    """The embedding is what the first block reads."""
    return replace(site, kind="resid_pre", layer=0) if site.kind == "embedding" else site
