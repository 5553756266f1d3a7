"""Weights in the field's names: shapes, circuits, folded forms; what is not known is refused."""

import pytest
import torch
from tiny import MODELS, tiny_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from oneway.engine import Engine, Site
from oneway.engine.prepared import Prepared
from oneway.models.architecture import neox
from oneway.models.decoder_weights import folded, folded_unembedding
from oneway.models.export import to_hugging_face
from oneway.models.families import UnknownFamily, read_decoder
from oneway.models.transformer import initial_weights, logits


@pytest.mark.parametrize("name", sorted(MODELS))
def test_shapes_are_the_fields(name):
    form, weights = read_decoder(tiny_model(name))
    block, d, dh = weights.blocks[1], form.d_model, form.d_head
    assert block.W_Q.shape == (form.heads, d, dh)
    assert block.W_K.shape == block.W_V.shape == (form.kv_heads, d, dh)
    assert block.W_O.shape == (form.heads, dh, d)
    assert block.W_in.shape == (d, form.d_mlp)
    assert block.W_out.shape == (form.d_mlp, d)
    assert weights.W_E.shape == (form.vocab, d)
    assert weights.W_U.shape == (d, form.vocab)
    assert len(weights.blocks) == form.layers
    assert weights.named()["blocks.1.W_Q"] is block.W_Q


def test_weights_are_views_of_the_models_own():
    model = tiny_model("llama3")
    _, weights = read_decoder(model)
    own = model.model.layers[1].self_attn.q_proj.weight
    assert weights.blocks[1].W_Q.untyped_storage().data_ptr() == own.untyped_storage().data_ptr()
    torch.testing.assert_close(weights.blocks[1].W_Q[2], own[20:30].T)  # heads of width 10


def test_circuits_of_grouped_heads():
    _, weights = read_decoder(tiny_model("llama3"))
    block = weights.blocks[0]  # heads 0 and 1 share the first key-value head, 2 and 3 the second
    torch.testing.assert_close(block.ov(1), block.W_V[0] @ block.W_O[1])
    torch.testing.assert_close(block.qk(2), block.W_Q[2] @ block.W_K[1].T)


def test_a_norms_scale_and_shift_fold_into_the_next_matrix():
    x, w, b = torch.randn(3, 5), torch.randn(5), torch.randn(5)
    matrix, bias = torch.randn(5, 7), torch.randn(7)
    for shift, added in ((b, bias), (b, None), (None, bias), (None, None)):
        new, new_bias = folded(w, shift, matrix, added)
        expected = (x * w + (0 if shift is None else shift)) @ matrix + (0 if added is None else added)
        torch.testing.assert_close(x @ new + (0 if new_bias is None else new_bias), expected)


def test_the_final_norm_folds_into_the_unembedding():
    model = tiny_model("gpt2")
    form, weights = read_decoder(model)
    matrix, bias = folded_unembedding(weights)
    x = torch.randn(3, form.d_model)
    standard = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=form.epsilon)
    expected = model.lm_head(model.transformer.ln_f(x))
    torch.testing.assert_close(standard @ matrix + bias, expected, rtol=1e-4, atol=1e-5)


def test_a_model_grown_here_gives_equal_logits_in_the_engine():
    """The trainer's block and the engine's compute the same function."""
    shape = neox(vocab=31, context=16, layers=2, width=12, heads=3)
    weights = initial_weights(shape, [0])
    tokens = torch.randint(0, 31, (4, 7), generator=torch.Generator().manual_seed(0))
    engine = Engine(Prepared(*read_decoder(to_hugging_face(weights, shape))))
    found = engine.run(tokens, [Site("logits")])[Site("logits")]
    torch.testing.assert_close(found, logits(weights, tokens[None], shape)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            BloomForCausalLM(BloomConfig(vocab_size=11, hidden_size=8, n_layer=1, n_head=2)),
            "the architecture 'bloom' is not read here; known: gemma3, gemma3_text, gpt2,",
        ),
        (
            GPT2LMHeadModel(
                GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, activation_function="mish")
            ),
            "the activation 'mish' is not computed here; known: gelu,",
        ),
        (
            LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=11,
                    hidden_size=8,
                    intermediate_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
                )
            ),
            "rotary scaling 'dynamic' depends on the length of the text",
        ),
    ],
    ids=["architecture", "activation", "rotary"],
)
def test_what_is_not_known_is_refused(model, said):
    with pytest.raises(UnknownFamily) as raised:
        read_decoder(model)
    assert said in str(raised.value)
