"""Tiny random models of every family that the engine reads, and of variants within the families."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from transformers import PreTrainedModel

VOCAB, LAYERS = 101, 3
COMMON: dict[str, Any] = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}
SHAPE = COMMON | {
    "hidden_size": 24,
    "intermediate_size": 34,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GROUPED = SHAPE | {"num_key_value_heads": 2, "head_dim": 10}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def _gpt2(**own: Any) -> PreTrainedModel:
    config = hf.GPT2Config(n_embd=20, n_layer=LAYERS, n_head=4, n_positions=64, n_inner=34, **COMMON, **own)
    return hf.GPT2LMHeadModel(config)


def _neox(partial: float, **own: Any) -> PreTrainedModel:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": partial}
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHAPE, rope_parameters=rope, **own))


def _gemma3() -> PreTrainedModel:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    capped = {"final_logit_softcapping": 5.0, "sliding_window": 4, "layer_types": kinds}
    return hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GROUPED, **capped))


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": _gpt2,
    "gpt2-by-layer": lambda: _gpt2(scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
    "neox": lambda: _neox(0.34),
    "neox-sequential": lambda: _neox(
        1.0, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new"
    ),
    "llama3": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED, rope_parameters=LLAMA3)),
    "llama-biases": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)
    ),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=3)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE | {"num_key_value_heads": 2})),
    "qwen3": lambda: hf.Qwen3ForCausalLM(
        hf.Qwen3Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "gemma3": _gemma3,
}


def _phi() -> PreTrainedModel:
    return hf.PhiForCausalLM(hf.PhiConfig(**SHAPE | {"hidden_size": 32}))


def _opt() -> PreTrainedModel:
    own = {"ffn_dim": 34, "word_embed_proj_dim": 24}
    return hf.OPTForCausalLM(hf.OPTConfig(**SHAPE | own))


def _gemma3_multimodal() -> PreTrainedModel:
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    text = GROUPED | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
    config = hf.Gemma3Config(
        text_config=text | {"num_hidden_layers": 4}, vision_config=vision, mm_tokens_per_image=4
    )
    return hf.Gemma3ForConditionalGeneration(config)


# Architectures that the engine does not know, and a model of texts and images, of which it reads the text's.
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma3-multimodal": _gemma3_multimodal,
    "phi": _phi,
    "opt": _opt,
}


def tiny_model(name: str) -> PreTrainedModel:
    """A model whose every weight, norms and biases too, is random: none is 0 or 1 that a mistake could hide behind."""
    torch.manual_seed(0)
    model = (MODELS | OTHERS)[name]().eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model
