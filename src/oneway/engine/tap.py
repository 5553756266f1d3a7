"""What is read and edited at one layer while its block runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from oneway.engine.site import Kind, Site


@dataclass(frozen=True, slots=True, eq=False)
class KeysValues:
    """A layer's keys (rotated) and values of all positions from 0. The axes run and batch may be of length 1, for what
    is shared."""

    k: Float[Tensor, "run batch kv_head pos d_head"]
    v: Float[Tensor, "run batch kv_head pos d_head"]


@dataclass(frozen=True, slots=True, eq=False)
class Past(KeysValues):
    """What a layer computed in a run without interventions.

    Of the positions from `start` on also queries (rotated) and `base`, the part of resid_post that does not depend on
    the attention of this layer: resid_pre, and in parallel blocks mlp_out.
    """

    start: int
    q: Float[Tensor, "run batch head rest d_head"]
    base: Float[Tensor, "run batch rest d_model"]


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A value for a site, of the site's full shape, in one of the runs that are computed side by side, or in all of
    them (`run` None)."""

    site: Site
    value: Tensor
    run: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mask(Edit):
    """An edit of a pattern whose value says what is kept of it, 1 or 0; what is left is scaled to sum to 1."""


@dataclass(slots=True, eq=False)
class Tap:
    """The reads and edits of one layer. Called with what the block computes, it returns what goes on.

    Values have the axes run, batch and position first. `reads` are sites; what they held is put into `found`
    without the axis run where there is one run. `goal`: the kinds that the layer is run for at all, None where its
    residual stream is needed. With `keeps` the block leaves its `past`.
    """

    reads: tuple[Site, ...] = ()
    edits: tuple[Edit, ...] = ()
    goal: frozenset[Kind] | None = None
    keeps: bool = False
    past: Past | None = None
    found: dict[Site, Tensor] = field(default_factory=dict)

    def wants(self, *kinds: Kind) -> bool:
        """Whether any of these kinds is read or edited here."""
        return any(site.kind in kinds for site in self.reads) or any(e.site.kind in kinds for e in self.edits)

    def edited_runs(self, kind: Kind, runs: int) -> Iterable[int]:
        """The runs, of so many, in which this kind is edited."""
        edited = {edit.run for edit in self.edits if edit.site.kind == kind}
        return range(runs) if None in edited else sorted(run for run in edited if run is not None)

    def one_by_one(self, kind: Kind, runs: int) -> "Iterator[tuple[int, Tap]]":
        """The runs in which this kind is read or edited, each with the tap of that run alone."""
        read = any(site.kind == kind for site in self.reads)
        for run in range(runs) if read else self.edited_runs(kind, runs):
            own = tuple(replace(edit, run=None) for edit in self.edits if edit.run in (run, None))
            yield run, Tap(self.reads, own, found=self.found)

    def needs(self, kinds: Iterable[Kind]) -> bool:
        """Whether the layer is run for any of these kinds."""
        return self.goal is None or not self.goal.isdisjoint(kinds)

    def __call__(self, kind: Kind, value: Tensor, positions: range) -> Tensor:
        edits = [edit for edit in self.edits if edit.site.kind == kind]
        if edits:
            value = value.clone()
            for edit in edits:
                write(value, edit, positions)
        for site in self.reads:
            if site.kind == kind:
                self.found[site] = _read(value, site, positions)
        return value


NOTHING = Tap()


def _index(site: Site, positions: range) -> tuple[int | slice, ...]:
    """The site's place in a value whose first axes are batch and position."""
    position = slice(None) if site.position is None else positions.index(site.position)
    if site.kind in ("mlp_pre", "mlp_post"):
        return (slice(None), position, slice(None) if site.neuron is None else site.neuron)
    return (slice(None), position, *(() if site.head is None else (site.head,)))


def _read(value: Tensor, site: Site, positions: range) -> Tensor:
    """The site's value: a copy where it is a part, so that no more stays in memory than was asked for, and where the
    block goes on in its place, as when queries and keys are rotated."""
    found = value[(slice(None), *_index(site, positions))]
    whole = found.numel() == value.numel() and site.kind not in ("q", "k", "v")
    return found if whole else found.clone()


def write(value: Tensor, edit: Edit, positions: range) -> None:
    """Put the edit's value, which has the full shape of its site, where the positions that pass by have it."""
    new = edit.value
    if edit.site.position is None:
        new = new[:, positions.start : positions.stop]
    elif edit.site.position not in positions:
        return
    if edit.site.kind == "pattern":
        new = new[..., : value.shape[-1]]  # keys that nothing depends on are not computed
    index = _index(edit.site, positions)
    index = (slice(None) if edit.run is None else edit.run, *index)
    if isinstance(edit, Mask):
        left = value[index] * new
        new = left / left.sum(-1, keepdim=True)
    value[index] = new
