"""Places inside a model that can be read and written."""

from dataclasses import dataclass
from typing import Literal, get_args

from oneway.models.decoder import Decoder

Kind = Literal[
    "embedding",
    "resid_pre",
    "q",
    "k",
    "v",
    "pattern",
    "z",
    "head_out",
    "attn_out",
    "resid_mid",
    "mlp_in",
    "mlp_pre",
    "mlp_post",
    "mlp_out",
    "resid_post",
    "final_norm",
    "logits",
]
WHOLE_MODEL = ("embedding", "final_norm", "logits")
OF_HEADS = ("q", "k", "v", "pattern", "z", "head_out")
OF_NEURONS = ("mlp_pre", "mlp_post")


class SiteError(ValueError):
    """A site that the model does not have."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a model: what is computed (`kind`), in which layer, head or neuron, at which position.

    | kind | meaning | shape of its value |
    |---|---|---|
    | embedding | token (and position) embedding | batch pos d_model |
    | resid_pre, resid_mid, resid_post | before a block, between attention and MLP, after | batch pos d_model |
    | q, k, v | projections, before norms of queries and keys and before rotation | batch pos head d_head |
    | pattern | attention probabilities; `position` is the query's | batch pos head key |
    | z | values mixed by the pattern | batch pos head d_head |
    | head_out | z of a head times its W_O, before the bias | batch pos head d_model |
    | attn_out, mlp_out | what attention and MLP add to the residual stream | batch pos d_model |
    | mlp_in | the MLP's normed input | batch pos d_model |
    | mlp_pre, mlp_post | before the activation; what W_out multiplies (with a gate: the product) | batch pos d_mlp |
    | final_norm, logits | the normed last residual stream; all scores | batch pos d_model; batch pos vocab |

    `position`, `head` and `neuron` may be left out, which means all; an axis that is named is not in the value.
    Positions count from 0, or from the end if negative. In parallel blocks resid_mid is resid_pre + attn_out.
    With grouped queries `head` of k and v is that of keys and values.
    """

    kind: Kind
    layer: int | None = None
    head: int | None = None
    position: int | None = None
    neuron: int | None = None

    def __str__(self) -> str:
        values = (self.layer, self.head, self.position, self.neuron)
        named = zip(("layer", "head", "position", "neuron"), values, strict=True)
        return f"{self.kind}({', '.join(f'{name} {value}' for name, value in named if value is not None)})"


def checked(site: Site, form: Decoder, length: int) -> Site:
    """The site with its position counted from the start.

    Raises SiteError where a model of this form has no such place in a prompt of so many tokens.
    """
    if site.kind not in get_args(Kind):
        raise SiteError(f"{site.kind!r} is no kind of site; known: {', '.join(get_args(Kind))}")
    _check_layer(site, form)
    _check_part(site, form)
    position = site.position
    if position is None:
        return site
    if not -length <= position < length:
        raise SiteError(f"{site}: the prompts have {length} tokens, so position {position} is outside them")
    return Site(site.kind, site.layer, site.head, position % length, site.neuron)


def _check_layer(site: Site, form: Decoder) -> None:
    if site.kind in WHOLE_MODEL:
        if site.layer is not None:
            raise SiteError(f"{site}: {site.kind} belongs to the whole model and has no layer")
    elif site.layer is None:
        raise SiteError(f"{site}: which layer? The model has layers 0 to {form.layers - 1}")
    elif not 0 <= site.layer < form.layers:
        raise SiteError(f"{site}: the model has layers 0 to {form.layers - 1}")


def _check_part(site: Site, form: Decoder) -> None:
    if site.head is not None:
        if site.kind not in OF_HEADS:
            raise SiteError(f"{site}: {site.kind} has no heads; those that have: {', '.join(OF_HEADS)}")
        heads = form.kv_heads if site.kind in ("k", "v") else form.heads
        if not 0 <= site.head < heads:
            raise SiteError(f"{site}: {site.kind} has heads 0 to {heads - 1}")
    if site.neuron is not None:
        if site.kind not in OF_NEURONS:
            raise SiteError(f"{site}: {site.kind} has no neurons; those that have: {', '.join(OF_NEURONS)}")
        if not 0 <= site.neuron < form.d_mlp:
            raise SiteError(f"{site}: the MLP has neurons 0 to {form.d_mlp - 1}")


def shape_of(site: Site, form: Decoder, batch: int, length: int) -> tuple[int, ...]:
    """The shape of a site's value."""
    features: dict[str, tuple[int, ...]] = {
        "q": (form.heads, form.d_head),
        "k": (form.kv_heads, form.d_head),
        "v": (form.kv_heads, form.d_head),
        "z": (form.heads, form.d_head),
        "pattern": (form.heads, length),
        "head_out": (form.heads, form.d_model),
        "mlp_pre": (form.d_mlp,),
        "mlp_post": (form.d_mlp,),
        "logits": (form.vocab,),
    }
    rest = features.get(site.kind, (form.d_model,))
    if site.head is not None:
        rest = rest[1:]
    if site.neuron is not None:
        rest = rest[:-1]
    return (batch, *(() if site.position is not None else (length,)), *rest)
