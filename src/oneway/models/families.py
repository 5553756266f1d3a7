"""The families whose form and weights are read here: GPT-2, GPT-NeoX, Llama, Mistral, Qwen and Gemma 3.

A reader takes a model of `transformers` and returns its form and its weights in the field's names. Whatever of a
family it does not know is refused with a reason: a wrong guess would be a wrong number.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from oneway.models.decoder import Activation, AttentionForm, Decoder, Rotary
from oneway.models.decoder_weights import BlockWeights, DecoderWeights
from oneway.models.placement import is_spread

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "relu": "relu",
}
# Rotary scalings whose frequencies do not depend on the length of the text.
FIXED_ROTARY = ("default", "linear", "llama3", "yarn")


class UnknownFamily(ValueError):
    """The model's architecture, or a variant of it, is not one that is read here; the message says why."""


def read_decoder(model: PreTrainedModel, dtype: torch.dtype | None = None) -> tuple[Decoder, DecoderWeights]:
    """The form and the weights of a model, which are views of its own tensors wherever the layout allows.

    `dtype`: another number format for the weights; without, they keep the model's.

    Raises UnknownFamily where no reader knows the architecture, or this variant of it.
    """
    kind = model.config.model_type
    if kind not in READERS:
        raise UnknownFamily(
            f"the architecture {kind!r} is not read here; known: {', '.join(sorted(READERS))}"
        )
    if is_spread(model):
        raise UnknownFamily("weights that are not all in the memory of one device are not read here")
    if not all(weight.is_floating_point() for weight in model.parameters()):
        raise UnknownFamily("weights that are stored as integers (quantised) are not read here")
    with torch.no_grad():
        try:
            form, weights = READERS[kind](model)
        except AttributeError as error:
            raise UnknownFamily(f"this {kind} is not built as transformers builds it: {error}") from None
    return form, weights.to(dtype or model.dtype)


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise UnknownFamily(f"the activation {name!r} is not computed here; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _rotary(frequencies: Tensor, parameters: dict[str, Any], scaling: float) -> Rotary:
    kind = parameters.get("rope_type", "default")
    if kind not in FIXED_ROTARY:
        raise UnknownFamily(
            f"rotary scaling {kind!r} depends on the length of the text, which is not computed here; "
            f"known: {', '.join(FIXED_ROTARY)}"
        )
    return Rotary(frequencies.detach(), float(scaling))


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """A `nn.Linear` weight [head · d_head, d_model] as [head, d_model, d_head]."""
    return weight.detach().unflatten(0, (heads, -1)).transpose(1, 2)


def _bias_by_head(bias: Tensor | None, heads: int) -> Tensor | None:
    return None if bias is None else bias.detach().unflatten(0, (heads, -1))


def _gpt2(model: PreTrainedModel) -> tuple[Decoder, DecoderWeights]:
    c, body = model.config, model.transformer
    if c.add_cross_attention:
        raise UnknownFamily("GPT-2 with cross-attention is not computed here")
    heads = c.n_head
    form = Decoder(
        family="gpt2",
        vocab=body.wte.weight.shape[0],
        context=c.n_positions,
        layers=c.n_layer,
        d_model=c.n_embd,
        heads=heads,
        kv_heads=heads,
        d_head=c.n_embd // heads,
        d_mlp=c.n_inner or 4 * c.n_embd,
        block="sequential",
        norm="layer",
        epsilon=c.layer_norm_epsilon,
        activation=_activation(c.activation_function),
        attention=tuple(AttentionForm(block.attn.scaling, None, None) for block in body.h),
    )
    blocks = []
    for block in body.h:
        w_q, w_k, w_v = (
            part.unflatten(1, (heads, -1)).transpose(0, 1)
            for part in block.attn.c_attn.weight.detach().chunk(3, dim=1)
        )
        b_q, b_k, b_v = block.attn.c_attn.bias.detach().view(3, heads, -1)
        blocks.append(
            BlockWeights(
                W_Q=w_q,
                W_K=w_k,
                W_V=w_v,
                b_Q=b_q,
                b_K=b_k,
                b_V=b_v,
                W_O=block.attn.c_proj.weight.detach().unflatten(0, (heads, -1)),
                b_O=block.attn.c_proj.bias.detach(),
                W_in=block.mlp.c_fc.weight.detach(),
                b_in=block.mlp.c_fc.bias.detach(),
                W_out=block.mlp.c_proj.weight.detach(),
                b_out=block.mlp.c_proj.bias.detach(),
                ln1_w=block.ln_1.weight.detach(),
                ln1_b=block.ln_1.bias.detach(),
                ln2_w=block.ln_2.weight.detach(),
                ln2_b=block.ln_2.bias.detach(),
            )
        )
    return form, DecoderWeights(
        W_E=body.wte.weight.detach(),
        W_pos=body.wpe.weight.detach(),
        blocks=tuple(blocks),
        ln_f_w=body.ln_f.weight.detach(),
        ln_f_b=body.ln_f.bias.detach(),
        W_U=_unembedding(model.lm_head),
    )


def _gpt_neox(model: PreTrainedModel) -> tuple[Decoder, DecoderWeights]:
    c, body = model.config, model.gpt_neox
    heads = c.num_attention_heads
    rotary = _rotary(body.rotary_emb.inv_freq, c.rope_parameters, body.rotary_emb.attention_scaling)
    form = Decoder(
        family="gpt_neox",
        vocab=body.embed_in.weight.shape[0],
        context=c.max_position_embeddings,
        layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        heads=heads,
        kv_heads=heads,
        d_head=c.hidden_size // heads,
        d_mlp=c.intermediate_size,
        block="parallel" if c.use_parallel_residual else "sequential",
        norm="layer",
        epsilon=c.layer_norm_eps,
        activation=_activation(c.hidden_act),
        attention=tuple(AttentionForm(layer.attention.scaling, None, rotary) for layer in body.layers),
    )
    blocks = []
    for layer in body.layers:
        attention, mlp = layer.attention, layer.mlp
        # Queries, keys and values lie side by side within each head.
        w_q, w_k, w_v = (
            attention.query_key_value.weight.detach()
            .unflatten(0, (heads, 3, -1))
            .permute(1, 0, 3, 2)
            .unbind(0)
        )
        biases: tuple[Tensor | None, ...] = (None, None, None)
        if attention.query_key_value.bias is not None:
            biases = attention.query_key_value.bias.detach().unflatten(0, (heads, 3, -1)).unbind(1)
        blocks.append(
            BlockWeights(
                W_Q=w_q,
                W_K=w_k,
                W_V=w_v,
                b_Q=biases[0],
                b_K=biases[1],
                b_V=biases[2],
                W_O=_linear(attention.dense).unflatten(0, (heads, -1)),
                b_O=_bias(attention.dense),
                W_in=_linear(mlp.dense_h_to_4h),
                b_in=_bias(mlp.dense_h_to_4h),
                W_out=_linear(mlp.dense_4h_to_h),
                b_out=_bias(mlp.dense_4h_to_h),
                ln1_w=layer.input_layernorm.weight.detach(),
                ln1_b=layer.input_layernorm.bias.detach(),
                ln2_w=layer.post_attention_layernorm.weight.detach(),
                ln2_b=layer.post_attention_layernorm.bias.detach(),
            )
        )
    return form, DecoderWeights(
        W_E=body.embed_in.weight.detach(),
        blocks=tuple(blocks),
        ln_f_w=body.final_layer_norm.weight.detach(),
        ln_f_b=body.final_layer_norm.bias.detach(),
        W_U=_unembedding(model.lm_head),
    )


def _llama(model: PreTrainedModel) -> tuple[Decoder, DecoderWeights]:
    """Llama, Mistral and Qwen: RMSNorm before, gated MLP, grouped queries; Qwen 3 norms queries and keys."""
    c, body = model.config, model.model
    rotary = _rotary(body.rotary_emb.inv_freq, c.rope_parameters, body.rotary_emb.attention_scaling)
    windows = _windows(c)
    form = _llama_like(
        c,
        body.layers,
        activation=_activation(c.hidden_act),
        qk_norm=c.model_type == "qwen3",
        attention=tuple(
            AttentionForm(layer.self_attn.scaling, window, rotary)
            for layer, window in zip(body.layers, windows, strict=True)
        ),
    )
    blocks = tuple(
        _llama_block(
            layer,
            form,
            ln2_w=layer.post_attention_layernorm.weight.detach(),
            ln1_w=layer.input_layernorm.weight.detach(),
            **(
                {"q_norm_w": layer.self_attn.q_norm.weight.detach()}
                | {"k_norm_w": layer.self_attn.k_norm.weight.detach()}
                if form.qk_norm
                else {}
            ),
        )
        for layer in body.layers
    )
    return form, DecoderWeights(
        W_E=body.embed_tokens.weight.detach(),
        blocks=blocks,
        ln_f_w=body.norm.weight.detach(),
        W_U=_unembedding(model.lm_head),
    )


def _gemma3(model: PreTrainedModel) -> tuple[Decoder, DecoderWeights]:
    """Gemma 3's text model: norms before and after, of weight 1 + w; local and global layers of their own base."""
    several = model.config.model_type == "gemma3"  # a model of texts and images keeps the text's inside
    c = model.config.text_config if several else model.config
    body = model.model.language_model if several else model.model
    if c.use_bidirectional_attention:
        raise UnknownFamily("Gemma 3 that looks at the tokens behind is not computed here")
    rotary = {
        kind: _rotary(
            getattr(body.rotary_emb, f"{kind}_inv_freq"),
            c.rope_parameters[kind],
            getattr(body.rotary_emb, f"{kind}_attention_scaling"),
        )
        for kind in sorted(set(c.layer_types))
    }
    form = _llama_like(
        c,
        body.layers,
        family="gemma3",
        activation=_activation(c.hidden_activation),
        qk_norm=True,
        post_norms=True,
        embedding_scale=float(body.embed_tokens.embed_scale.to(body.embed_tokens.weight.dtype)),
        softcap=c.final_logit_softcapping,
        attention=tuple(
            AttentionForm(layer.self_attn.scaling, window, rotary[kind])
            for layer, window, kind in zip(body.layers, _windows(c), c.layer_types, strict=True)
        ),
    )
    blocks = tuple(
        _llama_block(
            layer,
            form,
            ln1_w=_one_plus(layer.input_layernorm),
            ln1_post_w=_one_plus(layer.post_attention_layernorm),
            ln2_w=_one_plus(layer.pre_feedforward_layernorm),
            ln2_post_w=_one_plus(layer.post_feedforward_layernorm),
            q_norm_w=_one_plus(layer.self_attn.q_norm),
            k_norm_w=_one_plus(layer.self_attn.k_norm),
        )
        for layer in body.layers
    )
    return form, DecoderWeights(
        W_E=body.embed_tokens.weight.detach(),
        blocks=blocks,
        ln_f_w=_one_plus(body.norm),
        W_U=_unembedding(model.lm_head),
    )


def _one_plus(norm: Any) -> Tensor:
    """The scale of a norm that is stored less one; in float64, so that no number format loses by the sum."""
    return 1 + norm.weight.detach().double()


def _llama_like(config: Any, layers: Any, **own: Any) -> Decoder:
    shape: dict[str, Any] = {
        "family": config.model_type,
        "vocab": config.vocab_size,
        "context": config.max_position_embeddings,
        "layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "d_head": layers[0].self_attn.head_dim,
        "d_mlp": config.intermediate_size,
        "block": "sequential",
        "norm": "rms",
        "epsilon": config.rms_norm_eps,
        "gated": True,
    }
    return Decoder(**shape | own)


def _llama_block(layer: Any, form: Decoder, **norms: Tensor) -> BlockWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return BlockWeights(
        W_Q=_by_head(attention.q_proj.weight, form.heads),
        W_K=_by_head(attention.k_proj.weight, form.kv_heads),
        W_V=_by_head(attention.v_proj.weight, form.kv_heads),
        W_O=_linear(attention.o_proj).unflatten(0, (form.heads, -1)),
        b_Q=_bias_by_head(attention.q_proj.bias, form.heads),
        b_K=_bias_by_head(attention.k_proj.bias, form.kv_heads),
        b_V=_bias_by_head(attention.v_proj.bias, form.kv_heads),
        b_O=_bias(attention.o_proj),
        W_in=_linear(mlp.gate_proj),
        b_in=_bias(mlp.gate_proj),
        W_up=_linear(mlp.up_proj),
        b_up=_bias(mlp.up_proj),
        W_out=_linear(mlp.down_proj),
        b_out=_bias(mlp.down_proj),
        **norms,
    )


def _windows(config: Any) -> list[int | None]:
    """Each layer's sliding window: named per layer (Qwen, Gemma), one for all (Mistral), or none (Llama)."""
    if config.model_type == "llama":
        return [None] * config.num_hidden_layers
    if config.model_type == "mistral":
        return [config.sliding_window] * config.num_hidden_layers
    return [config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types]


def _linear(layer: nn.Linear) -> Tensor:
    return layer.weight.detach().T


def _bias(layer: nn.Linear) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach()


def _unembedding(head: nn.Linear) -> Tensor:
    if head.bias is not None:
        raise UnknownFamily("an unembedding with a bias is not computed here")
    return head.weight.detach().T


READERS: dict[str, Callable[[PreTrainedModel], tuple[Decoder, DecoderWeights]]] = {
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "gemma3_text": _gemma3,
    "gemma3": _gemma3,
}
