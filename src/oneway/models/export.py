"""Grown models to standard Hugging Face checkpoints and back."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from oneway.evidence.atomic import write_files
from oneway.models.architecture import Architecture
from oneway.models.checkpoint import without_progress_bars
from oneway.models.transformer import Weights

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a family keeps each of our weights, and in which form: one table for writing and for reading.

    `top` and `block` map our names to theirs, `block` below `prefix` + the layer's number. `stored` turns one of
    our tensors into theirs, `ours` does the inverse; both are told our short name.
    """

    top: Mapping[str, str]
    prefix: str
    block: Mapping[str, str]
    stored: Callable[[str, Tensor, Architecture], Tensor]
    ours: Callable[[str, Tensor, Architecture], Tensor]

    def names(self, a: Architecture) -> Iterator[tuple[str, str, str]]:
        """Our full name, our short name, and theirs, of every weight of this architecture."""
        for name, theirs in self.top.items():
            if name != "W_U" or a.unembedding == "untied":
                yield name, name, theirs
        for layer in range(a.layers):
            for name, theirs in self.block.items():
                yield f"blocks.{layer}.{name}", name, f"{self.prefix}{layer}.{theirs}"

    def write(self, model: PreTrainedModel, weights: Weights, a: Architecture) -> PreTrainedModel:
        """Put one seed's weights into a model of this family."""
        state = {theirs: self.stored(short, weights[name], a) for name, short, theirs in self.names(a)}
        if a.unembedding == "tied":
            state[self.top["W_U"]] = state[self.top["W_E"]]
        model.load_state_dict({name: value.contiguous() for name, value in state.items()}, strict=True)
        return model.eval()

    def read(self, model: PreTrainedModel, a: Architecture) -> Weights:
        """One seed's weights out of a model of this family."""
        state = model.state_dict()
        return {name: self.ours(short, state[theirs], a) for name, short, theirs in self.names(a)}


def _gpt2_form(name: str, value: Tensor, a: Architecture) -> Tensor:
    """GPT-2 multiplies from the right, as we do; only its unembedding is a transpose. Its own inverse."""
    return value.T if name == "W_U" else value


def _neox_stored(name: str, value: Tensor, a: Architecture) -> Tensor:
    """GPT-NeoX keeps transposes, and queries, keys and values side by side within each head."""
    if name.endswith("QKV"):
        value = value.view(-1, 3, a.heads, a.head_width).transpose(1, 2).reshape(value.shape)
    return value.T if name.startswith("W_") and name != "W_E" else value


def _neox_ours(name: str, value: Tensor, a: Architecture) -> Tensor:
    value = value.T if name.startswith("W_") and name != "W_E" else value
    if name.endswith("QKV"):
        value = value.reshape(-1, a.heads, 3, a.head_width).transpose(1, 2).reshape(value.shape)
    return value


GPT2 = Layout(
    top={
        "W_E": "transformer.wte.weight",
        "W_pos": "transformer.wpe.weight",
        "ln_f.w": "transformer.ln_f.weight",
        "ln_f.b": "transformer.ln_f.bias",
        "W_U": "lm_head.weight",
    },
    prefix="transformer.h.",
    block={
        "ln1.w": "ln_1.weight",
        "ln1.b": "ln_1.bias",
        "W_QKV": "attn.c_attn.weight",
        "b_QKV": "attn.c_attn.bias",
        "W_O": "attn.c_proj.weight",
        "b_O": "attn.c_proj.bias",
        "ln2.w": "ln_2.weight",
        "ln2.b": "ln_2.bias",
        "W_in": "mlp.c_fc.weight",
        "b_in": "mlp.c_fc.bias",
        "W_out": "mlp.c_proj.weight",
        "b_out": "mlp.c_proj.bias",
    },
    stored=_gpt2_form,
    ours=_gpt2_form,
)

NEOX = Layout(
    top={
        "W_E": "gpt_neox.embed_in.weight",
        "ln_f.w": "gpt_neox.final_layer_norm.weight",
        "ln_f.b": "gpt_neox.final_layer_norm.bias",
        "W_U": "lm_head.weight",
    },
    prefix="gpt_neox.layers.",
    block={
        "ln1.w": "input_layernorm.weight",
        "ln1.b": "input_layernorm.bias",
        "ln2.w": "post_attention_layernorm.weight",
        "ln2.b": "post_attention_layernorm.bias",
        "W_QKV": "attention.query_key_value.weight",
        "b_QKV": "attention.query_key_value.bias",
        "W_O": "attention.dense.weight",
        "b_O": "attention.dense.bias",
        "W_in": "mlp.dense_h_to_4h.weight",
        "b_in": "mlp.dense_h_to_4h.bias",
        "W_out": "mlp.dense_4h_to_h.weight",
        "b_out": "mlp.dense_4h_to_h.bias",
    },
    stored=_neox_stored,
    ours=_neox_ours,
)


def to_hugging_face(weights: Weights, a: Architecture, seed_index: int = 0) -> PreTrainedModel:
    """One seed as a plain `transformers` model with equal logits.

    Sequential blocks with learned or no positions become GPT-2 (no positions: zero position embeddings);
    rotary positions become GPT-NeoX. Raises ValueError, with the reason, where no standard architecture
    computes the same function: merged OV, and parallel blocks without rotary positions.
    """
    if a.attention == "full":
        raise ValueError(
            "full attention has no Hugging Face form: these families look at earlier tokens only"
        )
    if a.ov == "merged":
        raise ValueError("a merged OV has no Hugging Face form: its rank may exceed the head width")
    single = {name: value[seed_index].detach().cpu().float() for name, value in weights.items()}
    if a.positions == "rotary":
        return _neox(single, a)
    if a.block == "parallel":
        raise ValueError(
            f"parallel blocks with {a.positions} positions have no Hugging Face form: use rotary positions"
        )
    return _gpt2(single, a)


def layout_of(a: Architecture) -> Layout:
    """Where the family that has an architecture keeps its weights."""
    return NEOX if a.positions == "rotary" else GPT2


def configuration(
    a: Architecture, *, bos_token_id: int = 0, eos_token_id: int = 0
) -> GPT2Config | GPTNeoXConfig:
    """The configuration with which `transformers` computes an architecture."""
    common: dict[str, Any] = {
        "vocab_size": a.vocab,
        "tie_word_embeddings": a.unembedding == "tied",
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
    }
    if a.positions == "rotary":
        return GPTNeoXConfig(
            max_position_embeddings=a.context,
            hidden_size=a.width,
            num_hidden_layers=a.layers,
            num_attention_heads=a.heads,
            intermediate_size=a.mlp,
            hidden_act=ACTIVATIONS[a.activation],
            layer_norm_eps=a.norm_epsilon,
            use_parallel_residual=a.block == "parallel",
            rope_parameters={
                "rope_type": "default",
                "rope_theta": a.rotary_base,
                "partial_rotary_factor": 1.0,
            },
            hidden_dropout=0.0,
            attention_dropout=0.0,
            **common,
        )
    return GPT2Config(
        n_positions=a.context,
        n_embd=a.width,
        n_layer=a.layers,
        n_head=a.heads,
        n_inner=a.mlp,
        activation_function=ACTIVATIONS[a.activation],
        layer_norm_epsilon=a.norm_epsilon,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **common,
    )


def _gpt2(w: Weights, a: Architecture) -> PreTrainedModel:
    positions = torch.zeros(a.context, a.width)  # what no positions are in GPT-2's form
    return GPT2.write(GPT2LMHeadModel(configuration(a)), {"W_pos": positions} | w, a)


def _neox(w: Weights, a: Architecture) -> PreTrainedModel:
    return NEOX.write(GPTNeoXForCausalLM(configuration(a)), w, a)


def save_checkpoint(
    weights: Weights,
    a: Architecture,
    tokenizer: PreTrainedTokenizerFast,
    directory: Path,
    seed_index: int = 0,
) -> Path:
    """Write one seed as a Hugging Face checkpoint directory (safetensors and tokenizer).

    Every file is written beside its place and renamed, `config.json` last: without it nothing is loaded.

    Raises ValueError where the tokenizer knows more tokens than the model, or as `to_hugging_face` does;
    WriteError where the directory cannot be written.
    """
    if len(tokenizer) > a.vocab:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model only {a.vocab}")
    model = to_hugging_face(weights, a, seed_index)

    def write(folder: Path) -> None:
        with without_progress_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    write_files(directory, write, last="config.json")
    return directory


def from_hugging_face(directory: Path) -> tuple[Weights, Architecture]:
    """Read a GPT-2 or GPT-NeoX checkpoint directory back as named weights (seed axis of length 1).

    Raises ValueError for another architecture, or for a variant that the block function does not compute.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    readers = {"gpt2": _read_gpt2, "gpt_neox": _read_neox}
    kind = config.get("model_type")
    if kind not in readers:
        raise ValueError(f"{directory}: model type {kind!r} is not read here; known: {sorted(readers)}")
    model = AutoModelForCausalLM.from_pretrained(
        directory, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    single, architecture = readers[kind](model)
    return {name: value.detach().clone()[None] for name, value in single.items()}, architecture


def _activation(name: str) -> str:
    for ours, theirs in (("gelu", ("gelu",)), ("gelu_tanh", ("gelu_new", "gelu_pytorch_tanh"))):
        if name in theirs:
            return ours
    raise ValueError(f"activation {name!r} is not computed here; known: gelu, gelu_new, gelu_pytorch_tanh")


def _read_gpt2(model: PreTrainedModel) -> tuple[Weights, Architecture]:
    c = model.config
    if c.scale_attn_by_inverse_layer_idx or not c.scale_attn_weights:
        raise ValueError("GPT-2 with another attention scale is not computed here")
    a = Architecture(
        vocab=c.vocab_size,
        context=c.n_positions,
        layers=c.n_layer,
        width=c.n_embd,
        heads=c.n_head,
        mlp=c.n_inner or 4 * c.n_embd,
        unembedding="tied" if c.tie_word_embeddings else "untied",
        activation=_activation(c.activation_function),  # type: ignore[arg-type]
        norm_epsilon=c.layer_norm_epsilon,
    )
    return GPT2.read(model, a), a


def _read_neox(model: PreTrainedModel) -> tuple[Weights, Architecture]:
    c = model.config
    rope = c.rope_parameters
    if rope.get("rope_type", "default") != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"GPT-NeoX with rotary parameters {dict(rope)} is not computed here")
    if not c.attention_bias:
        raise ValueError("GPT-NeoX without attention biases is not computed here")
    a = Architecture(
        vocab=c.vocab_size,
        context=c.max_position_embeddings,
        layers=c.num_hidden_layers,
        width=c.hidden_size,
        heads=c.num_attention_heads,
        mlp=c.intermediate_size,
        block="parallel" if c.use_parallel_residual else "sequential",
        positions="rotary",
        unembedding="tied" if c.tie_word_embeddings else "untied",
        activation=_activation(c.hidden_act),  # type: ignore[arg-type]
        norm_epsilon=c.layer_norm_eps,
        rotary_base=float(rope["rope_theta"]),
    )
    return NEOX.read(model, a), a
