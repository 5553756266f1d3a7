"""Many interventions on the same prompts, each computed only where it can have changed anything.

An intervention enters where its first edit changes the residual stream. From there on each layer computes the
positions from the first changed one to the one that is read; keys and values before come from the run without
interventions, and in the first layer, where only the edited positions differ, so do the queries (and, in parallel
blocks, the MLPs) of the others. The last layer computes the position that is read alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from oneway.engine.block import Span, block, with_mlp
from oneway.engine.change import OF_ATTENTION, OF_MLP, change, edited, held, sites, source
from oneway.engine.forward import Pass, hull
from oneway.engine.prepared import Prepared
from oneway.engine.site import Kind, Site
from oneway.engine.tap import NOTHING, Edit, Tap

Edits = tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Where an intervention enters.

    The residual stream before `layer` is known at the positions `fresh`, from the edits of `kind` in the block before
    (or in front of `layer`, where `kind` is resid_pre). Where `kind` is None there is no short cut: `layer` is
    run with its edits. `edited`: there are edits from `layer` on, at the positions from `first` on.
    """

    layer: int
    fresh: range
    kind: Kind | None
    edited: bool
    first: int


def start_of(edited: Sequence[Site], stop: int) -> Start:
    """Where to enter with edits at these sites, of which those from position `stop` on cannot matter."""
    edited = [site for site in edited if site.position is None or site.position < stop]
    if not edited:
        return Start(0, range(stop, stop), "resid_pre", False, stop)
    layer = min(site.layer for site in edited if site.layer is not None)
    here = [site for site in edited if site.layer == layer]
    kinds, first = {site.kind for site in here}, hull(edited, stop).start
    later = len(here) < len(edited)
    if len(kinds) == 1 and here[0].kind in ("resid_pre", *OF_ATTENTION, *OF_MLP):
        kind = here[0].kind
        return Start(layer + (kind != "resid_pre"), hull(here, stop), kind, later, first)
    return Start(layer, range(first, stop), None, True, first)


def reaches(start: Start, until: int, position: int) -> bool:
    """Whether the residual stream after layer `until` can differ at a position."""
    if start.layer <= until:
        return start.first <= position
    inside = start.kind != "resid_pre"  # an edit in front of the next layer comes after the one that is read
    return inside and start.layer == until + 1 and position in start.fresh


def sites_of(start: Start, model: Prepared, stop: int) -> list[Site]:
    """What a run without interventions must read for such a start."""
    found = []
    if start.kind is None or (start.edited and start.layer < model.form.layers):
        found += sites("resid_pre", start.layer, range(start.first, stop))
    if start.kind == "resid_pre":
        found += sites("resid_pre", start.layer, start.fresh)
    elif start.kind is not None:
        for kind in (source(start.kind), _base(start.kind, model)):
            found += sites(kind, start.layer - 1, start.fresh)
    return found


def _base(kind: Kind, model: Prepared) -> Kind:
    """What the change is added to: the MLP of a sequential block still has to read a change of attention."""
    return "resid_mid" if kind in OF_ATTENTION and model.form.block == "sequential" else "resid_post"


def rerun(
    model: Prepared, clean: Pass, runs: Sequence[Edits], start: Start, until: int, position: int
) -> Float[Tensor, "run batch d_model"]:
    """The residual stream after layer `until` at a position, in each of the runs.

    All runs have this start; `clean` has kept what each layer computed, and read `sites_of(start)`.
    """
    needed = range(position, position + 1)
    edits = tuple(replace(e, run=run) for run, own in enumerate(runs) for e in own)
    x, fresh = _entered(model, clean, edits, len(runs), start, position + 1), start.fresh
    if start.edited and start.layer <= until and start.kind is not None:
        whole = range(start.first, needed.stop)
        wide = held(clean.found, "resid_pre", start.layer, whole).repeat(len(runs), 1, 1, 1)
        wide[:, :, fresh.start - whole.start : fresh.stop - whole.start] = x
        x, fresh = wide, whole
    for index in range(start.layer, until + 1):
        want = needed if index == until else range(fresh.start, needed.stop)
        tap = NOTHING
        if start.edited:
            tap = Tap(edits=tuple(e for e in edits if e.site.layer == index))
        x = block(model.layer(index), x, Span(fresh, want), clean.pasts[index], tap)
        fresh = want
    return x[:, :, position - fresh.start]


def _entered(
    model: Prepared, clean: Pass, edits: Edits, runs: int, start: Start, stop: int
) -> Float[Tensor, "run batch fresh d_model"]:
    """The residual stream before `start.layer` at the positions that the edits before it changed."""
    if start.kind is None:
        x = held(clean.found, "resid_pre", start.layer, range(start.first, stop))
        return x.expand(runs, -1, -1, -1)
    if start.kind == "resid_pre":
        own = tuple(edit for edit in edits if edit.site.kind == start.kind)
        return edited(held(clean.found, "resid_pre", start.layer, start.fresh), own, runs, start.fresh)
    layer = model.layer(start.layer - 1)
    own = tuple(edit for edit in edits if edit.site.layer == layer.index)
    kind = _base(start.kind, model)
    base = held(clean.found, kind, layer.index, start.fresh) + change(
        model, clean.found, own, runs, start.fresh
    )
    return with_mlp(layer, base, base, start.fresh) if kind == "resid_mid" else base
