"""The oracle: a model's own code in `transformers`, its modules hooked as anyone would, all layers and positions."""

import copy
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

Edit = Callable[[Tensor], Tensor]
Place = tuple[int, str]  # layer and kind


@dataclass(frozen=True)
class Modules:
    """Where a family keeps what the engine calls by the field's names: (module, "in" or "out") of each kind."""

    blocks: Sequence[nn.Module]
    places: Mapping[str, Callable[[nn.Module], tuple[nn.Module, str]]]
    mlp: Callable[[nn.Module], Callable[[Tensor], Tensor]]  # from the residual stream before it to mlp_out
    attn_out: Callable[[nn.Module], Callable[[Tensor], Tensor]]  # from z, heads side by side
    final_norm: nn.Module
    parallel: bool = False


def modules(model: PreTrainedModel) -> Modules:
    kind = model.config.model_type
    if kind == "gpt2":
        return Modules(
            model.transformer.h,
            {
                "resid_pre": lambda b: (b, "in"),
                "resid_post": lambda b: (b, "out"),
                "z": lambda b: (b.attn.c_proj, "in"),
                "attn_out": lambda b: (b.attn, "out"),
                "mlp_in": lambda b: (b.mlp, "in"),
                "mlp_pre": lambda b: (b.mlp.c_fc, "out"),
                "mlp_post": lambda b: (b.mlp.c_proj, "in"),
                "mlp_out": lambda b: (b.mlp, "out"),
            },
            lambda b: lambda x: b.mlp(b.ln_2(x)),
            lambda b: b.attn.c_proj,
            model.transformer.ln_f,
        )
    if kind == "gpt_neox":
        return Modules(
            model.gpt_neox.layers,
            {
                "resid_pre": lambda b: (b, "in"),
                "resid_post": lambda b: (b, "out"),
                "z": lambda b: (b.attention.dense, "in"),
                "attn_out": lambda b: (b.attention, "out"),
                "mlp_in": lambda b: (b.mlp, "in"),
                "mlp_pre": lambda b: (b.mlp.dense_h_to_4h, "out"),
                "mlp_post": lambda b: (b.mlp.dense_4h_to_h, "in"),
                "mlp_out": lambda b: (b.mlp, "out"),
            },
            lambda b: lambda x: b.mlp(b.post_attention_layernorm(x)),
            lambda b: b.attention.dense,
            model.gpt_neox.final_layer_norm,
            model.config.use_parallel_residual,
        )
    after = kind == "gemma3_text"
    return Modules(
        model.model.layers,
        {
            "resid_pre": lambda b: (b, "in"),
            "resid_post": lambda b: (b, "out"),
            "z": lambda b: (b.self_attn.o_proj, "in"),
            "attn_out": lambda b: (b.post_attention_layernorm if after else b.self_attn, "out"),
            "mlp_in": lambda b: (b.mlp, "in"),
            "mlp_pre": lambda b: (b.mlp.gate_proj, "out"),
            "mlp_post": lambda b: (b.mlp.down_proj, "in"),
            "mlp_out": lambda b: (b.post_feedforward_layernorm if after else b.mlp, "out"),
        },
        (lambda b: lambda x: b.post_feedforward_layernorm(b.mlp(b.pre_feedforward_layernorm(x))))
        if after
        else (lambda b: lambda x: b.mlp(b.post_attention_layernorm(x))),
        (lambda b: lambda z: b.post_attention_layernorm(b.self_attn.o_proj(z)))
        if after
        else (lambda b: b.self_attn.o_proj),
        model.model.norm,
    )


@torch.inference_mode()
def run(
    model: PreTrainedModel,
    tokens: Tensor,
    reads: Sequence[Place] = (),
    edits: Mapping[Place, Edit] | None = None,
) -> tuple[Tensor, dict[Place, Tensor]]:
    """Logits at every position, and what was read after the edits."""
    found: dict[Place, Tensor] = {}
    where, edits, handles = modules(model), edits or {}, []
    try:
        for place in dict.fromkeys((*reads, *edits)):
            layer, kind = place
            if layer < 0:
                module, side = model.get_input_embeddings(), "out"
            else:
                module, side = where.places[kind](where.blocks[layer])
            handles.append(_hooked(module, side, _through(place, edits.get(place), found)))
        return model(tokens, use_cache=False).logits, found
    finally:
        for handle in handles:
            handle.remove()


def _through(place: Place, edit: Edit | None, found: dict[Place, Tensor]) -> Edit:
    def through(value: Tensor) -> Tensor:
        value = value if edit is None else edit(value.clone())
        found[place] = value.clone()
        return value

    return through


def _hooked(module: nn.Module, side: str, through: Edit) -> Any:
    def into(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (
            ((through(args[0]), *args[1:]), kwargs)
            if args
            else (args, kwargs | {"hidden_states": through(kwargs["hidden_states"])})
        )

    def out(_: nn.Module, __: Any, output: Any) -> Any:
        return (through(output[0]), *output[1:]) if isinstance(output, tuple) else through(output)

    if side == "in":
        return module.register_forward_pre_hook(into, with_kwargs=True)
    return module.register_forward_hook(out)


# Attention that gives away its patterns and takes them back, in the number format of its inputs.
_PATTERNS: dict[int, Edit] = {}
_SEEN: dict[int, Tensor] = {}


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = query @ key.transpose(2, 3) * scaling
    pattern = (scores if mask is None else scores + mask).softmax(-1)
    pattern = _PATTERNS.get(module.layer_idx, lambda p: p)(pattern)
    _SEEN[module.layer_idx] = pattern
    return (pattern @ value).transpose(1, 2).contiguous(), pattern


AttentionInterface.register("oracle", _attention)
AttentionMaskInterface.register("oracle", eager_mask)


@contextmanager
def patterns(model: PreTrainedModel, edits: Mapping[int, Edit] | None = None) -> Iterator[dict[int, Tensor]]:
    """While inside, the model's attention patterns [batch head query key] are seen, and edited by layer."""
    before = model.config._attn_implementation
    model.set_attn_implementation("oracle")
    _PATTERNS.update(edits or {})
    try:
        yield _SEEN
    finally:
        _PATTERNS.clear()
        model.set_attn_implementation(before)


def in_double(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in float64 all through: its own norms, softmax and rotary positions would compute in float32."""
    model = copy.deepcopy(model).double()
    model.set_attn_implementation("oracle")
    for module in model.modules():
        name = type(module).__name__
        if name.endswith("RMSNorm"):
            module.forward = types.MethodType(_gemma_norm if "Gemma" in name else _norm, module)
        elif name.endswith("RotaryEmbedding"):
            module.forward = types.MethodType(_rotary, module)
    return model


def _norm(self: nn.Module, x: Tensor) -> Tensor:
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def _gemma_norm(self: nn.Module, x: Tensor) -> Tensor:
    return (1 + self.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def _rotary(self: nn.Module, x: Tensor, position_ids: Tensor, layer_type: str = "") -> tuple[Tensor, Tensor]:
    prefix = f"{layer_type}_" if layer_type else ""
    frequencies, scaling = getattr(self, f"{prefix}inv_freq"), getattr(self, f"{prefix}attention_scaling")
    angles = position_ids[..., None].double() * frequencies.double()
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * scaling, angles.sin() * scaling
