"""W6: every beginning with every ending: a Cartesian product of names."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from oneway.engine.block import Span, block
from oneway.engine.engine import Engine
from oneway.engine.forward import FINAL, beginning, finish, goal_of
from oneway.engine.prepared import Prepared
from oneway.engine.site import Kind, Site, SiteError, checked
from oneway.engine.tap import KeysValues, Past, Tap
from oneway.report.progress import progress

ROWS = 2048  # of the product, at a time


def product_of_names(
    engine: Engine, beginnings: Int[Tensor, "first pos"], ends: Int[Tensor, " last"], reads: Sequence[Site]
) -> Iterator[tuple[slice, dict[Site, Tensor]]]:
    """W6: sites at the last token, in every beginning followed by every one of the last tokens.

    For some of the beginnings at a time: which they are, and the values, [first last …]. What a beginning leaves,
    its keys and values, is computed once; so is what the first layer makes of a last token alone. The sites have no
    position: it is the last. Source: the Fact Finding sequence, post 3 (non-linear excess).

    Raises SiteError as `Opened.run` does, and for sites with a position.
    """
    length = beginnings.shape[1] + 1
    for site in reads:
        if site.position is not None:
            raise SiteError(f"{site}: in a product of names the position is always the last")
    sites = {s: checked(Site(s.kind, s.layer, s.head, -1, s.neuron), engine.form, length) for s in reads}
    beginnings, ends = engine.checked_tokens(beginnings), engine.checked_tokens(ends[:, None])[:, 0]
    step = max(1, ROWS // len(ends))
    with progress("names") as advance:
        for start in range(0, len(beginnings), step):
            rows = slice(start, min(start + step, len(beginnings)))
            found = _product(engine.prepared, beginnings[rows], ends, tuple(sites.values()))
            yield rows, {asked: found[site].transpose(0, 1) for asked, site in sites.items()}
            advance(rows.stop, len(beginnings))


@torch.inference_mode()
def _product(
    model: Prepared, beginnings: Int[Tensor, "first pos"], ends: Int[Tensor, " last"], reads: tuple[Site, ...]
) -> dict[Site, Tensor]:
    """The values of sites at the last token, [last first …]."""
    position = beginnings.shape[1]
    span, goal = range(position, position + 1), goal_of(reads, model.form.layers, position + 1)
    pasts = beginning(model, beginnings, goal.layer)
    embedded = model.embedded(ends[:, None], position)[:, None]  # [last first=1 pos=1 d_model]
    last = Tap(tuple(site for site in reads if site.layer is None))
    last("embedding", embedded, span)
    found: dict[Site, Tensor] = {}
    x = embedded
    for index in range(goal.layer + 1):
        here = tuple(site for site in reads if site.layer == index)
        kinds, past = goal.kinds if index == goal.layer else None, pasts[index]
        if index == 0:
            own, alone = _alone(model, embedded, here, span)
            found |= alone
            here = tuple(site for site in here if site not in alone)
            if kinds is not None and not here and "resid_post" not in kinds:
                break
            tap = Tap(here, goal=kinds)
            x = block(
                model.layer(0),
                x[:, :, :0].expand(-1, len(beginnings), -1, -1),
                Span(range(position, position), span),
                _joined(past, own),
                tap,
            )
        else:
            tap = Tap(here, goal=kinds)
            x = block(model.layer(index), x, Span(span, span), past, tap)
        found |= tap.found
    if last.wants(*FINAL):
        finish(model, x, span, last)
    shape = (len(ends), len(beginnings))
    return {site: value.expand(*shape, *value.shape[2:]) for site, value in (found | last.found).items()}


def _alone(
    model: Prepared, embedded: Tensor, reads: tuple[Site, ...], span: range
) -> tuple[Past, dict[Site, Tensor]]:
    """What the first layer makes of last tokens whatever stands before them; [last first=1 …]."""
    kinds: tuple[Kind, ...] = ("resid_pre", "q", "k", "v")
    if model.form.block == "parallel":
        kinds += ("mlp_in", "mlp_pre", "mlp_post", "mlp_out")
    tap = Tap(tuple(site for site in reads if site.kind in kinds), goal=frozenset(kinds), keeps=True)
    block(model.layer(0), embedded, Span(span, span), None, tap)
    assert tap.past is not None
    return tap.past, tap.found


def _joined(past: KeysValues, own: Past) -> Past:
    """The keys and values of each beginning, followed by those of each last token."""
    shape = (len(own.k), past.k.shape[1], -1, -1, -1)
    k, v = (
        torch.cat((before.expand(shape), behind.expand(shape)), dim=3)
        for before, behind in ((past.k, own.k), (past.v, own.v))
    )
    return Past(k, v, own.start, own.q.expand(shape), own.base.expand(*shape[:4]))
