"""What a model shows when it is opened: its logits are the plain model's, every site is there and matters."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from oneway.engine.block import Span, block
from oneway.engine.engine import Engine
from oneway.engine.idle import reason
from oneway.engine.layer import Layer
from oneway.engine.opened import Opened
from oneway.engine.patch import Patch
from oneway.engine.product import passing_product
from oneway.engine.site import WHOLE_MODEL, Kind, Site
from oneway.engine.tap import Edit, Tap
from oneway.models.placement import entry

TOKENS = 5
COLUMNS = 4096  # of the logits, by which an edit is seen
LIMIT = 1e-4  # of the largest logit, or of 1
# What a block computes next from each kind of site in it.
HEARD_BY: dict[Kind, Kind] = {
    "q": "pattern",
    "k": "pattern",
    "pattern": "z",
    "v": "z",
    "z": "attn_out",
    "head_out": "attn_out",
    "attn_out": "resid_post",
    "mlp_in": "mlp_pre",
    "mlp_pre": "mlp_post",
    "mlp_post": "mlp_out",
    "mlp_out": "resid_post",
}
QUIET = "heard in its block, but these tokens' logits do not depend on it"


class NotProven(ValueError):
    """The model, as the engine reads it, does not behave as the plain model does."""


@dataclass(frozen=True, slots=True)
class SiteProof:
    """A kind of site: the shape of its value in one prompt of a few tokens, and by how much the logits move when it is
    edited at the last position, at the layer where they move least. Layers where it need not move them do not count."""

    shape: tuple[int, ...]
    moved: float
    layer: int | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen when a model was opened.

    `difference`: the largest difference between the logits and the plain model's, `largest` the largest of these.
    `idle`: sites whose edit did not change the logits, for no reason. `unmoved`: sites whose edit did not, and why:
    the weights that would carry it on are exactly zero, or it changes what is computed next, but these tokens' logits
    do not depend on that. `cannot`: what of the engine's calls the model does not do.
    """

    name: str
    architecture: str
    layers: int
    difference: float
    largest: float
    sites: Mapping[str, SiteProof]
    idle: tuple[str, ...]
    unmoved: Mapping[str, str]
    cannot: tuple[str, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        return self.difference <= LIMIT * max(1.0, self.largest) and not self.idle

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"holds": self.holds} | asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        proved = "proved" if self.holds else "NOT PROVED"
        limit = LIMIT * max(1.0, self.largest)
        said = [
            f"{self.name}: {self.architecture}, {self.layers} layers: {proved} in {self.seconds:.1f} s",
            f"logits: at most {self.difference:.1e} from the plain model's, which reach {self.largest:.3g} "
            f"(allowed {limit:.1e})",
            f"{'site':12} {'shape (one prompt)':20} least change of the logits when edited",
        ]
        for kind, site in self.sites.items():
            where = "" if site.layer is None else f"  (layer {site.layer})"
            said.append(f"{kind:12} {' × '.join(map(str, site.shape)):20} {site.moved:.2g}{where}")
        said += [f"not changed by an edit: {', '.join(self.idle)}"] if self.idle else []
        for why in dict.fromkeys(self.unmoved.values()):
            where = ", ".join(site for site, reason in self.unmoved.items() if reason == why)
            said.append(f"{why}: {where}")
        return said + [f"cannot: {what}" for what in self.cannot]

    def check(self) -> None:
        """Raises NotProven, saying what differs, where the proof does not hold."""
        if self.difference > LIMIT * max(1.0, self.largest):
            raise NotProven(
                f"{self.name}: the engine's logits differ by {self.difference:.2g} from the plain model's, which reach "
                f"{self.largest:.3g}: this {self.architecture} computes something that the engine does not know"
            )
        if self.idle:
            shown = ", ".join(self.idle[:4]) + (", …" if len(self.idle) > 4 else "")
            raise NotProven(
                f"{self.name}: editing {shown} does not change the logits, nor what is computed next, though the "
                "weights that carry it on are not zero"
            )


def prove(opened: Opened, model: PreTrainedModel) -> Proof:
    """Compare an opened model with the plain one on a few tokens, and edit every site at every layer.

    Raises NotProven where a site's value has not the shape that it should have.
    """
    start = time.perf_counter()
    length = min(TOKENS, opened.context)
    tokens = (torch.arange(length, device=opened.device)[None] * 7 + 1) % opened.vocab
    with torch.inference_mode():
        plain = model(input_ids=tokens.to(entry(model)), use_cache=False).logits[0].to(opened.device)
        largest = float(plain.abs().max())
        look = _seen_layer_by_layer if isinstance(opened, Engine) else _seen
        logits, seen = look(opened, tokens)  # type: ignore[arg-type]
    noise = 1e-6 * max(1.0, largest)
    still = [site for site, (_, moved) in seen.items() if moved <= noise]
    reasons = {site: _why_unmoved(opened, tokens, site) for site in still}
    for site, (shape, _) in seen.items():
        if shape != opened.shape_of(site, 1, length):
            raise NotProven(f"{opened.name}: {site} has the shape {list(shape)}")
    return Proof(
        name=opened.name,
        architecture=opened.architecture,
        layers=opened.layers,
        difference=float((logits.double() - plain.double()).abs().max()),
        largest=largest,
        sites={kind: _of_kind(kind, seen, reasons) for kind in opened.kinds},
        idle=tuple(str(site) for site, why in reasons.items() if not why),
        unmoved={str(site): why for site, why in reasons.items() if why},
        cannot=opened.cannot,
        seconds=time.perf_counter() - start,
    )


def _of_kind(kind: Kind, seen: "Seen", unmoved: Mapping[Site, str]) -> SiteProof:
    """What was seen of a kind of site where the logits move least, of the layers where they move if there are any."""
    own = [site for site in seen if site.kind == kind]
    moving = [site for site in own if not unmoved.get(site)]
    site = min(moving or own, key=lambda site: (seen[site][1], str(site)))
    return SiteProof(*seen[site], site.layer)


def _why_unmoved(opened: Opened, tokens: Int[Tensor, "one pos"], site: Site) -> str:
    """Why an edit of a site may leave the logits as they are; "" if there is no reason for it."""
    if isinstance(opened, Engine) and site.layer is not None:
        if why := reason(site, opened.weights.blocks[site.layer]):
            return f"unused, since {why}"
        if not site.kind.startswith("resid") and _is_heard(opened, tokens, site):
            return QUIET
    return ""


def _is_heard(engine: Engine, tokens: Int[Tensor, "one pos"], site: Site) -> bool:
    """Whether what is computed next changes when a site is edited at all positions.

    By noise as large as the residual stream, or twice the site's largest value if that is more: a neuron that stands
    far below zero has to be pushed above it to be heard.
    """
    resid, read = Site("resid_pre", site.layer), Site(HEARD_BY[site.kind], site.layer)
    clean = engine.run(tokens, [site, resid, read])
    size = max(float(clean[resid].std()), 2 * float(clean[site].abs().max()))
    patch = Patch(site, clean[site] + size * _noise(clean[site]))
    return not torch.equal(engine.run(tokens, [read], [patch])[read], clean[read])


# The shape of each site's value, and by how much the last position's logits move when it is edited there.
Seen = dict[Site, tuple[tuple[int, ...], float]]


def _noise(like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def _other(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value with noise of its own size."""
    return value + _noise(value) * (value.std() if float(value.std()) > 0 else 1)


def _seen(opened: Opened, tokens: Int[Tensor, "one pos"]) -> tuple[Float[Tensor, "pos vocab"], Seen]:
    """The logits, and what was seen of each site, run by run."""
    everything = [
        Site(kind, None if kind in WHOLE_MODEL else layer)
        for kind in opened.kinds
        for layer in (range(1) if kind in WHOLE_MODEL else range(opened.layers))
    ]
    found = opened.run(tokens, everything)
    last, logits = tokens.shape[1] - 1, found[Site("logits")]
    read, seen = Site("logits", position=last), {}
    for site, value in found.items():
        patch = Patch(Site(site.kind, site.layer, position=last), _other(value[:, last]))
        moved = opened.run(tokens, [read], [patch])[read] - logits[:, last]
        seen[site] = tuple(value.shape), float(moved.abs().max())
    return logits[0], seen


def _seen_layer_by_layer(
    engine: Engine, tokens: Int[Tensor, "one pos"]
) -> tuple[Float[Tensor, "pos vocab"], Seen]:
    """The same in one pass: the edits of each layer join the runs of those before.

    A layer is made ready for the proof alone and given up again: what is needed later is made ready then.
    """
    model, last = engine.prepared, tokens.shape[1] - 1
    whole, end = range(last + 1), range(last, last + 1)
    found: dict[Site, Tensor] = {Site("embedding"): model.embedded(tokens)}
    edited = [Site("embedding")]
    x = found[edited[0]][None]
    runs = _other(x[:, :, last:])
    for index in range(engine.layers):
        layer = Layer(model.form, model.weights.blocks[index], index, passing_product)
        here = [Site(kind, index) for kind in engine.kinds if kind not in WHOLE_MODEL]
        tap = Tap(reads=tuple(here), keeps=True)
        runs = torch.cat((runs, x[:, :, last:].expand(len(here), -1, -1, -1)))
        x = block(layer, x, Span(whole, whole), None, tap)
        values = {site: tap.found[site][0] for site in here}
        edits = tuple(
            Edit(
                Site(site.kind, index, position=last),
                _other(values[site][:, last]),
                len(edited) + number,
            )
            for number, site in enumerate(here)
        )
        runs = block(layer, runs, Span(end, end), tap.past, Tap(edits=edits))
        found, edited = found | values, edited + here
    found[Site("final_norm")] = normed = model.final_norm(x[0])
    found[Site("logits")] = logits = model.logits(normed.flatten(0, 1))[None]
    ends = torch.cat((model.final_norm(runs[:, 0, 0]), _other(normed[:, last])))
    # Of a large vocabulary every so many: a model may have tokens that it never says, one after the other.
    columns = torch.arange(0, engine.vocab, max(1, engine.vocab // COLUMNS), device=engine.device)
    moved = model.columns(ends[:, None], columns[None])[:, 0] - logits[:, last, columns]
    sizes = [
        *moved.abs().amax(1).tolist(),
        float((_other(logits[:, last]) - logits[:, last]).abs().max()),
    ]
    order = [*edited, Site("final_norm"), Site("logits")]
    return logits[0], {s: (tuple(found[s].shape), size) for s, size in zip(order, sizes, strict=True)}
