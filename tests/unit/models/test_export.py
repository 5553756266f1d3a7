"""A grown model and its Hugging Face checkpoint are one function."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneway.models.architecture import Architecture, gpt2, neox
from oneway.models.export import from_hugging_face, save_checkpoint, to_hugging_face
from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.models.transformer import initial_weights, logits

TEXTS = ["Ada Lovelace is the daughter of Lord Byron.", "Zoë Kravitz is the daughter of Lenny Kravitz."]
SIZES = {"vocab": 307, "context": 13, "layers": 3, "width": 20, "heads": 5}
EXPORTABLE = {
    "gpt2": gpt2(**SIZES),
    "gpt2 untied": replace(gpt2(**SIZES), unembedding="untied"),
    "gpt2 frozen": replace(gpt2(**SIZES), unembedding="untied", embeddings="frozen"),
    "gpt2 without positions": replace(gpt2(**SIZES), positions="none"),
    "neox": neox(**SIZES),
    "neox tied": replace(neox(**SIZES), unembedding="tied"),
    "neox sequential": replace(neox(**SIZES), block="sequential"),
}


def randomised(architecture: Architecture, seeds: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Weights away from their start: biases and norms that do something, logits that are not flat."""
    generator = torch.Generator().manual_seed(99)
    weights = initial_weights(architecture, seeds)
    return {n: w + 0.3 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}


@pytest.mark.parametrize("name", EXPORTABLE)
@pytest.mark.parametrize("tokenizer", [word_tokenizer(TEXTS), bpe_tokenizer(TEXTS, 300)], ids=["word", "bpe"])
def test_a_checkpoint_gives_equal_logits_through_the_plain_auto_classes(name, tokenizer, tmp_path: Path):
    architecture = EXPORTABLE[name]
    weights = randomised(architecture, (3, 5))
    save_checkpoint(weights, architecture, tokenizer, tmp_path, seed_index=1)

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0][:22], return_tensors="pt").input_ids
    assert tokens[0, 0] == tokenizer.bos_token_id
    ours = logits(weights, tokens.expand(2, 1, -1), architecture)[1]
    with torch.no_grad():
        torch.testing.assert_close(ours, model(tokens).logits, atol=1e-5, rtol=1e-5)

    back, read = from_hugging_face(tmp_path)
    again = logits(back, tokens[None], read)[0]
    torch.testing.assert_close(again, ours, atol=1e-5, rtol=1e-5)


def test_shapes_without_a_standard_form_are_refused_with_the_reason():
    merged = replace(gpt2(**SIZES), ov="merged")
    with pytest.raises(ValueError, match="merged OV"):
        to_hugging_face(initial_weights(merged, (0,)), merged)
    parallel = replace(gpt2(**SIZES), block="parallel")
    with pytest.raises(ValueError, match="rotary"):
        to_hugging_face(initial_weights(parallel, (0,)), parallel)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path):
    small = gpt2(vocab=4, context=8, layers=1, width=4, heads=1)
    with pytest.raises(ValueError, match="only 4"):
        save_checkpoint(initial_weights(small, (0,)), small, word_tokenizer(TEXTS), tmp_path)
