"""One forward pass that reads and writes any site, and computes no more than the reads depend on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.block import Span, block
from oneway.engine.prefix import Prefix
from oneway.engine.prepared import Prepared
from oneway.engine.site import Kind, Site
from oneway.engine.tap import Edit, KeysValues, Past, Tap

FINAL: tuple[Kind, ...] = ("final_norm", "logits")
# Kinds that a layer has at all positions that it is given, not only at those that are needed of it.
AT_ALL_GIVEN: tuple[Kind, ...] = ("resid_pre", "k", "v")


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What a forward pass left: the values read, the last residual stream at the positions `needed` of it, and, where
    they were kept, what each layer computed."""

    found: dict[Site, Tensor]
    resid: Float[Tensor, "run batch needed d_model"]
    needed: range
    pasts: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a pass may stop: after `layer`, which is run for `kinds` at the positions `needed`; `stop` is the first
    position that nothing depends on."""

    layer: int
    kinds: frozenset[Kind]
    needed: range
    stop: int


def goal_of(reads: Sequence[Site], layers: int, length: int) -> Goal:
    """What is to be computed for these reads. The sites are checked ones."""
    stop = max((length if site.position is None else site.position + 1 for site in reads), default=0)
    final = [site for site in reads if site.kind in FINAL]
    last = layers - 1 if final else max((-1 if s.layer is None else s.layer for s in reads), default=-1)
    here = [site for site in reads if site.layer == last]
    kinds = {site.kind for site in here} | ({"resid_post"} if final else set())
    needed = hull([s for s in (*here, *final) if s.kind not in AT_ALL_GIVEN], length)
    return Goal(last, frozenset(kinds), needed or range(stop - 1, stop), stop)  # type: ignore[arg-type]


def hull(sites: Iterable[Site], length: int) -> range:
    """The positions from the first to the last of these sites; empty where there are none."""
    positions = [
        p for s in sites for p in ((0, length - 1) if s.position is None else (s.position, s.position))
    ]
    return range(min(positions), max(positions) + 1) if positions else range(0)


def shared(tokens: Int[Tensor, "batch pos"], at_most: int) -> int:
    """How many tokens all prompts begin with, at most so many."""
    if len(tokens) < 2:
        return 0
    same = (tokens[:, :at_most] == tokens[0, :at_most]).all(0)
    return int(same.cumprod(0).sum())


@torch.inference_mode()
def forward(
    model: Prepared,
    tokens: Int[Tensor, "batch pos"],
    reads: Sequence[Site],
    edits: Sequence[Edit] = (),
    *,
    goal: Goal | None = None,
    since: int | None = None,
) -> Pass:
    """Run the prompts for what is read, with edits.

    Layers, positions and columns that no read depends on are not computed; the tokens that all prompts begin with
    are computed once. `since`: keep what each layer computed from this position on, for later runs that change
    something there. `goal` is where to stop, by default where the last read is.
    """
    goal = goal or goal_of(reads, model.form.layers, tokens.shape[1])
    touched = [*reads, *(edit.site for edit in edits)]
    first = min((0 if s.position is None else s.position for s in touched), default=goal.needed.start)
    first = min(first, goal.needed.start, goal.stop - 1 if since is None else since)
    start = shared(tokens, max(first, 0))
    before = beginning(model, tokens[:1, :start], goal.layer) if start else (None,) * (goal.layer + 1)
    taps = [_tap(index, reads, edits, goal, since) for index in range(goal.layer + 1)]
    span = range(start, goal.stop)
    found: dict[Site, Tensor] = {}
    ends = _tap(None, reads, edits, goal, None)
    x = ends("embedding", model.embedded(tokens[:, start : goal.stop], start)[None], span)
    for index, (past, tap) in enumerate(zip(before, taps, strict=True)):
        needed = goal.needed if index == goal.layer else span
        x = block(model.layer(index), x, Span(span, needed), past, tap)
        found |= tap.found
    if ends.wants(*FINAL):
        finish(model, x, goal.needed, ends)
    found |= ends.found
    kept = tuple(tap.past for tap in taps if tap.past is not None)
    length = tokens.shape[1]
    return Pass({s: _of_one_run(s, value, length) for s, value in found.items()}, x, goal.needed, kept)


def _of_one_run(site: Site, value: Tensor, length: int) -> Tensor:
    """The value without the axis of runs; a pattern with zeros for keys that no read depends on."""
    if site.kind == "pattern" and value.shape[-1] < length:
        return torch.nn.functional.pad(value[0], (0, length - value.shape[-1]))
    return value[0]


def finish(model: Prepared, resid: Tensor, positions: range, tap: Tap) -> None:
    """Final norm and, where they are read, the scores of all tokens."""
    normed = tap("final_norm", model.final_norm(resid), positions)
    if tap.wants("logits"):
        flat = normed.reshape(-1, model.form.d_model)
        tap("logits", model.logits(flat).view(*normed.shape[:3], -1), positions)


def _tap(
    index: int | None, reads: Sequence[Site], edits: Sequence[Edit], goal: Goal, since: int | None
) -> Tap:
    return Tap(
        reads=tuple(site for site in reads if site.layer == index),
        edits=tuple(edit for edit in edits if edit.site.layer == index),
        goal=goal.kinds if index == goal.layer else None,
        keeps=since is not None and index is not None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Kept(Prefix):
    """The keys and values of every layer that was run, one row for each text, or those of some of the rows."""

    layers: tuple[KeysValues, ...]
    length: int
    chosen: Int[Tensor, " row"] | None = None

    def rows(self, rows: Int[Tensor, " row"]) -> "Kept":
        rows = rows.to(self.layers[0].k.device)
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def layer(self, index: int) -> KeysValues:
        """A layer's keys and values in the rows chosen: copied when they are needed and not before."""
        past, rows = self.layers[index], self.chosen
        if rows is None or past.k.shape[1] == 1:  # one row is shared by all
            return past
        return KeysValues(past.k.index_select(1, rows), past.v.index_select(1, rows))


def beginning(model: Prepared, tokens: Int[Tensor, "batch pos"], last: int) -> tuple[KeysValues, ...]:
    """What the layers up to `last` keep of tokens that others will follow."""
    return read_on(model, tokens, None, last, frozenset(("k", "v")))[1].layers


@torch.inference_mode()
def read_on(
    model: Prepared,
    tokens: Int[Tensor, "batch pos"],
    prefix: Kept | None,
    last: int,
    goal: frozenset[Kind] | None = None,
) -> tuple[Float[Tensor, "batch d_model"], Kept]:
    """The residual stream at the last token after layer `last`, which is run for `goal`; and what is kept of the texts.

    `tokens` follow the prefix, one row for each of its rows.
    """
    start = 0 if prefix is None else prefix.length
    span, kept = range(start, start + tokens.shape[1]), []
    x = model.embedded(tokens, start)[None]
    for index in range(last + 1):
        end = index == last
        tap = Tap(goal=goal if end else None, keeps=True)
        past = None if prefix is None else prefix.layer(index)
        x = block(model.layer(index), x, Span(span, span[-1:] if end else span), past, tap)
        assert tap.past is not None
        kept.append(KeysValues(tap.past.k, tap.past.v))
    return x[0, :, -1], Kept(tuple(kept), span.stop)
