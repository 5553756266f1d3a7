"""From interventions as they are written down to values for sites."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from oneway.engine.patch import Frozen, Intervention, Mean, Patch, Path, Resample, Value, Without, Zero, parts
from oneway.engine.site import Site
from oneway.engine.tap import Edit, Mask


class PatchError(ValueError):
    """An intervention that cannot be: a value that does not fit its site, a path that leads backwards."""


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """An intervention whose sites are checked and whose values are tensors with a row for each prompt.

    `paths` are the changed input of a receiver, by receiver: what its senders write when edited.
    """

    edits: tuple[Edit, ...]
    paths: Mapping[Site, tuple[Edit, ...]]

    def of(self, rows: slice) -> "Settled":
        """The same for some of the prompts."""

        def cut(edits: Iterable[Edit]) -> tuple[Edit, ...]:
            return tuple(replace(edit, value=edit.value[rows]) for edit in edits)

        return Settled(cut(self.edits), {site: cut(edits) for site, edits in self.paths.items()})


def settle(
    interventions: Sequence[Intervention],
    *,
    check: Callable[[Site], Site],
    shape: Callable[[Site], tuple[int, ...]],
    like: Tensor,
    read: Callable[[Sequence[Site]], Mapping[Site, Tensor]],
) -> list[Settled]:
    """Check every site, and give every patch its values, of the number format and on the device of `like`.

    `check` and `shape` are told sites; `read` reads them in a run of all prompts without interventions, and is
    called once if a form of a value needs it. Raises SiteError and PatchError.
    """
    told = [parts(intervention) for intervention in interventions]
    patches = [part.sender if isinstance(part, Path) else part for own in told for part in own]
    sites = {patch.site: check(patch.site) for patch in patches}
    formed = [sites[p.site] for p in patches if isinstance(p.value, Mean | Resample | Frozen)]
    clean = read(list(dict.fromkeys(formed))) if formed else {}

    def edit(patch: Patch) -> Edit:
        site = sites[patch.site]
        if isinstance(patch.value, Without):
            return Mask(site, _kept(patch.value, site, shape(site)).to(like.device, like.dtype))
        try:
            return Edit(
                site, _value(patch.value, site, clean).to(like.device, like.dtype).broadcast_to(shape(site))
            )
        except RuntimeError:
            assert isinstance(patch.value, Tensor)
            raise PatchError(
                f"{site}: a value of shape {list(patch.value.shape)} does not fit the site's shape {list(shape(site))}"
            ) from None

    settled = []
    for own in told:
        paths: dict[Site, tuple[Edit, ...]] = defaultdict(tuple)
        for part in own:
            if isinstance(part, Path):
                paths[check(part.receiver)] += (edit(part.sender),)
        settled.append(Settled(tuple(edit(p) for p in own if isinstance(p, Patch)), dict(paths)))
    return settled


def _kept(value: Without, site: Site, shape: tuple[int, ...]) -> Tensor:
    """1 for each key of a pattern that is kept, 0 for the others."""
    if site.kind != "pattern":
        raise PatchError(f"{site}: only a pattern can be without some keys")
    if not all(0 <= key < shape[-1] for key in value.keys) or (
        site.position is not None and set(range(site.position + 1)) <= set(value.keys)
    ):
        raise PatchError(
            f"{site}: without the keys {list(value.keys)} of {shape[-1]}, nothing can be attended to"
        )
    kept = torch.ones(shape[-1])
    kept[list(value.keys)] = 0
    return kept.broadcast_to(shape)


def _value(value: Value, site: Site, clean: Mapping[Site, Tensor]) -> Tensor:
    match value:
        case Mean():
            return clean[site].mean(0, keepdim=True)
        case Frozen():
            return clean[site]
        case Resample(source):
            batch = len(clean[site])
            if len(source) != batch or not all(0 <= prompt < batch for prompt in source):
                raise PatchError(
                    f"{site}: a source is needed for each of the {batch} prompts, from 0 to {batch - 1}"
                )
            return clean[site][list(source)]
        case Zero():
            return torch.zeros(())
        case Without():
            raise PatchError(f"{site}: a sender cannot be a pattern")
    return value
