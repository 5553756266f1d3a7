"""Checkpoints are read with care and refused in words that say what to do."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.evidence import sha256
from oneway.models.checkpoint import CheckpointError, Loading, load_checkpoint
from oneway.models.tokens import word_tokenizer


@pytest.fixture
def directory(tmp_path):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(["Tim Duncan plays basketball"])
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=8, n_layer=1, n_head=1)
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_directory_loads_in_float32_and_evaluation_mode_with_the_hash_of_its_weights(directory):
    checkpoint = load_checkpoint(directory, Loading(device="cpu"))
    assert checkpoint.model.dtype == torch.float32
    assert not checkpoint.model.training
    assert checkpoint.hashes == {"model.safetensors": sha256(directory / "model.safetensors")}
    assert checkpoint.tokenizer("Tim Duncan")["input_ids"] == [0, 3, 2]
    assert load_checkpoint(checkpoint) is checkpoint


def test_a_pair_in_memory_is_hashed_by_its_weights(directory):
    loaded = load_checkpoint(directory)
    first = load_checkpoint((loaded.model, loaded.tokenizer)).hashes
    with torch.no_grad():
        loaded.model.transformer.wte.weight[0, 0] += 1
    assert load_checkpoint((loaded.model, loaded.tokenizer)).hashes != first


def test_pickled_weights_are_refused(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, but a pickle can run code"):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no safetensors weights: it has none at all"),
        ("tokenizer", "no tokenizer: save it beside the weights"),
    ],
)
def test_what_is_missing_is_named(directory, missing, message):
    for file in directory.glob(f"{missing}*"):
        file.unlink()
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_a_damaged_checkpoint_is_refused_with_its_name(directory):
    (directory / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_checkpoint(directory)


def test_code_in_a_checkpoint_is_never_run(directory):
    """A configuration that points at code in its folder is refused; the code would leave a mark."""
    mark = directory / "ran"
    (directory / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    config = json.loads((directory / "config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_checkpoint(directory)
    assert not mark.exists()


def test_weights_that_would_be_random_are_an_error(directory):
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    del weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .* transformer\.h\.0\.mlp\.c_fc\.weight"):
        load_checkpoint(directory)


@pytest.mark.parametrize("name", ["./nowhere", "no/such/place", "~/nowhere"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_name(name):
    with pytest.raises(CheckpointError, match="there is no checkpoint directory"):
        load_checkpoint(name)
