"""Path patches: what a receiver computes when a sender alone is changed in what it reads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from oneway.engine.block import Span, block, with_mlp
from oneway.engine.change import change, held, sites, source
from oneway.engine.prepared import Prepared
from oneway.engine.settle import PatchError, Settled
from oneway.engine.site import Kind, Site
from oneway.engine.tap import Edit, Tap

# Where in its block a sender writes to the residual stream: with attention (0) or with the MLP (1).
SENDERS: dict[Kind, int] = {
    "embedding": -1,
    "z": 0,
    "head_out": 0,
    "attn_out": 0,
    "mlp_post": 1,
    "mlp_out": 1,
}
PROJECTIONS: tuple[Kind, ...] = ("q", "k", "v")
MIXING: tuple[Kind, ...] = ("pattern", "z", "attn_out")
OF_MLP: tuple[Kind, ...] = ("mlp_in", "mlp_pre", "mlp_post", "mlp_out")
FINAL: tuple[Kind, ...] = ("final_norm", "logits")
RECEIVERS = (*PROJECTIONS, *MIXING, *OF_MLP, *FINAL)


def check_paths(settled: Settled, model: Prepared) -> None:
    """Raises PatchError where a sender does not write, a receiver does not read, or a path leads backwards."""
    for receiver, senders in settled.paths.items():
        for edit in senders:
            _check_path(edit.site, receiver, model)


def _check_path(sender: Site, receiver: Site, model: Prepared) -> None:
    """Raises PatchError where the sender does not write, the receiver does not read, or the path leads backwards."""
    if sender.kind not in SENDERS:
        raise PatchError(f"{sender} does not write to the residual stream; senders are {', '.join(SENDERS)}")
    if receiver.kind not in RECEIVERS:
        raise PatchError(
            f"{receiver} does not read the residual stream; receivers are {', '.join(RECEIVERS)}"
        )
    written = (-1 if sender.layer is None else sender.layer, SENDERS[sender.kind])
    late = receiver.kind in OF_MLP and model.form.block == "sequential"
    read = (model.form.layers if receiver.layer is None else receiver.layer, int(late))
    if written >= read:
        raise PatchError(f"there is no path from {sender} to {receiver}: the sender writes after it reads")


def path_sites(settled: Settled, model: Prepared, length: int) -> list[Site]:
    """What a run without interventions must read so that the paths can be followed."""
    found = []
    for receiver, senders in settled.paths.items():
        kind, layer = _input_of(receiver, model)
        found += sites(kind, layer, _reading(receiver, senders, length))
        for edit in senders:
            found += sites(source(edit.site.kind), edit.site.layer, _positions(edit.site, length))
    return found


def followed(
    model: Prepared, settled: Settled, found: Mapping[Site, Tensor], length: int
) -> tuple[Edit, ...]:
    """All edits of an intervention: its own, and for every path what its receiver then computes."""
    edits = settled.edits
    for receiver, senders in settled.paths.items():
        positions = _reading(receiver, senders, length)
        kind, layer = _input_of(receiver, model)
        resid = held(found, kind, layer, positions).clone()
        for edit in senders:
            written = _positions(edit.site, length)
            both = range(max(written.start, positions.start), min(written.stop, positions.stop))
            if len(both):
                added = change(model, found, (edit,), 1, written)
                to, by = both.start - positions.start, both.start - written.start
                resid[:, :, to : to + len(both)] += added[:, :, by : by + len(both)]
        edits += (_received(model, receiver, resid, positions),)
    return edits


def _input_of(receiver: Site, model: Prepared) -> tuple[Kind, int]:
    """The residual stream that a receiver reads."""
    if receiver.layer is None:
        return "resid_post", model.form.layers - 1
    late = receiver.kind in OF_MLP and model.form.block == "sequential"
    return "resid_mid" if late else "resid_pre", receiver.layer


def _positions(site: Site, length: int) -> range:
    return range(length) if site.position is None else range(site.position, site.position + 1)


def _reading(receiver: Site, senders: Sequence[Edit], length: int) -> range:
    """The positions at which what a receiver computes is computed anew: one, if it is one, else all."""
    if receiver.kind in MIXING:
        return range(length)
    if receiver.position is not None:
        return _positions(receiver, length)
    written = {edit.site.position for edit in senders}
    position = written.pop() if len(written) == 1 else None
    return range(length) if position is None else range(position, position + 1)


def edited_sites(settled: Settled, model: Prepared, length: int) -> list[Site]:
    """The sites of all edits that `followed` gives."""
    found = [edit.site for edit in settled.edits]
    for receiver, senders in settled.paths.items():
        found.append(_received_site(model, receiver, _reading(receiver, senders, length)))
    return found


def _received_site(model: Prepared, receiver: Site, positions: range) -> Site:
    position = positions.start if len(positions) == 1 and receiver.kind not in MIXING else receiver.position
    if receiver.layer is None:  # what the scores read is the last residual stream
        return Site("resid_post", model.form.layers - 1, position=position)
    return replace(receiver, position=position)


def _received(model: Prepared, receiver: Site, resid: Tensor, positions: range) -> Edit:
    """The edit that puts at the receiver what it computes from a changed residual stream."""
    site = _received_site(model, receiver, positions)
    if receiver.layer is None:
        return Edit(site, resid[0] if site.position is None else resid[0, :, 0])
    layer = model.layer(receiver.layer)
    tap = Tap(reads=(site,), goal=frozenset((receiver.kind,)))
    if receiver.kind in OF_MLP:
        with_mlp(layer, resid, resid, positions, tap)
    else:
        block(layer, resid, Span(positions, positions), None, tap)
    return Edit(site, tap.found[site][0])
