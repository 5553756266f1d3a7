"""Whole, sharded, tied, half-precision, pickled and adapted checkpoints, against the models they were saved from."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from oneway.evidence import sha256
from oneway.models.checkpoint import CheckpointError, Loading, load_checkpoint
from oneway.models.tokens import word_tokenizer

TOKENIZER = word_tokenizer(["Tim Duncan plays basketball and golf"])
VOCAB = len(TOKENIZER)
TEXT = torch.tensor([[0, 3, 5, 2, 4, 6, 1]])


def gpt2(tied: bool = True) -> PreTrainedModel:
    shape = {"n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2, "tie_word_embeddings": tied}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, bos_token_id=0, eos_token_id=0, **shape))


def neox(tied: bool = False) -> PreTrainedModel:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCAB, tie_word_embeddings=tied, **shape))


def llama(tied: bool = False) -> PreTrainedModel:
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = LlamaConfig(vocab_size=VOCAB, num_key_value_heads=1, tie_word_embeddings=tied, **shape)
    return LlamaForCausalLM(config)


def built(build, **options) -> PreTrainedModel:
    torch.manual_seed(0)
    return build(**options).eval()


def saved(model: PreTrainedModel, directory: Path, **options) -> Path:
    model.save_pretrained(directory, **options)
    TOKENIZER.save_pretrained(directory)
    return directory


def widened(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a float32 model, whose rotary frequencies were never rounded."""
    wide = type(model)(model.config).float().eval()
    wide.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    return wide


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(TEXT).logits


@pytest.mark.parametrize("shards", ["1GB", "2KB"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("build", [gpt2, neox, llama])
def test_what_is_loaded_is_what_was_saved(tmp_path, build, tied, shards):
    model = built(build, tied=tied)
    directory = saved(model, tmp_path / "model", max_shard_size=shards)
    found = load_checkpoint(directory)
    assert torch.equal(logits(found.model), logits(model))
    files = sorted(directory.glob("*.safetensors"))
    assert len(files) == 1 if shards == "1GB" else len(files) > 2
    assert found.hashes == {file.name: sha256(file) for file in files}
    assert (found.name, found.dtype, found.notes) == (str(directory), "float32", ())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_checkpoints_own_unless_float32_is_asked_for(tmp_path, dtype):
    half = getattr(torch, dtype)
    model = built(llama).to(half)
    directory = saved(model, tmp_path / "model")
    own = load_checkpoint(directory)
    assert (own.dtype, own.model.dtype) == (dtype, half)
    wide = load_checkpoint(directory, Loading(dtype="float32"))
    assert (wide.dtype, wide.model.dtype) == ("float32", torch.float32)
    assert torch.equal(logits(wide.model), logits(widened(model)))
    assert not torch.equal(logits(wide.model), logits(own.model).float())
    narrow = load_checkpoint(saved(built(llama), tmp_path / "wide"), Loading(dtype=dtype))
    assert narrow.dtype == dtype


def test_a_device_that_there_is_not_is_named():
    with pytest.raises(CheckpointError, match="'abacus', but it is one of: auto, cpu, cuda"):
        Loading(device="abacus")


def test_a_pickle_that_is_named_gives_the_same_model(tmp_path):
    model = built(gpt2)
    directory = saved(model, tmp_path / "model")
    (directory / "model.safetensors").unlink()
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    found = load_checkpoint(directory, Loading(weights="pytorch_model.bin"))
    assert torch.equal(logits(found.model), logits(model))
    assert found.hashes == {"pytorch_model.bin": sha256(directory / "pytorch_model.bin")}


def test_safetensors_under_another_name_are_read_by_it(tmp_path):
    directory = saved(built(neox), tmp_path / "model")
    (directory / "model.safetensors").rename(directory / "best.safetensors")
    found = load_checkpoint(directory, Loading(weights="best.safetensors"))
    assert torch.equal(logits(found.model), logits(built(neox)))
    (directory / "best.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"best\.safetensors is damaged"):
        load_checkpoint(directory, Loading(weights="best.safetensors"))


def test_a_configuration_of_absurd_size_is_refused_and_not_built(tmp_path):
    directory = saved(built(gpt2), tmp_path / "model")
    config = json.loads((directory / "config.json").read_text()) | {"n_embd": 2_000_000}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_checkpoint(directory)


def test_pickled_shards_are_read_by_their_index(tmp_path):
    model = built(llama)
    directory = saved(model, tmp_path / "model")
    (directory / "model.safetensors").unlink()
    tensors = model.state_dict()
    place = {name: f"part-{i % 2}.bin" for i, name in enumerate(tensors)}
    for file in set(place.values()):
        torch.save({name: tensors[name] for name in tensors if place[name] == file}, directory / file)
    (directory / "parts.index.json").write_text(json.dumps({"weight_map": place}))
    found = load_checkpoint(directory, Loading(weights="parts.index.json"))
    assert torch.equal(logits(found.model), logits(model))
    assert set(found.hashes) == {"part-0.bin", "part-1.bin"}
    (directory / "part-1.bin").unlink()
    with pytest.raises(CheckpointError, match=r"lacks part-1\.bin"):
        load_checkpoint(directory, Loading(weights="parts.index.json"))


def test_a_pickle_of_another_model_is_refused_by_its_tensor(tmp_path):
    directory = saved(built(gpt2), tmp_path / "model")
    tensors = built(gpt2).state_dict() | {"transformer.h.0.ln_1.bias": torch.zeros(9)}
    torch.save(tensors, directory / "w.bin")
    with pytest.raises(CheckpointError, match=r"transformer\.h\.0\.ln_1\.bias in w\.bin has the shape \[9\]"):
        load_checkpoint(directory, Loading(weights="w.bin"))


def test_tensors_that_the_model_does_not_use_are_a_note(tmp_path):
    from safetensors.torch import load_file, save_file

    directory = saved(built(gpt2), tmp_path / "model")
    tensors = load_file(directory / "model.safetensors") | {"value_head.weight": torch.zeros(3)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (note,) = load_checkpoint(directory).notes
    assert note == "1 tensors of the checkpoint are not used by GPT2LMHeadModel: value_head.weight"


def test_code_for_a_type_that_is_known_is_not_run_and_noted(tmp_path):
    directory, mark = saved(built(gpt2), tmp_path / "model"), tmp_path / "ran"
    (directory / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass M: pass\n")
    config = json.loads((directory / "config.json").read_text()) | {
        "auto_map": {"AutoModelForCausalLM": "code.M"}
    }
    (directory / "config.json").write_text(json.dumps(config))
    found = load_checkpoint(directory)
    assert "was not run" in found.notes[0]
    assert not mark.exists()


class TestInMemory:
    """The caller's model is the caller's."""

    def test_it_is_used_as_it_is(self):
        for model in (built(gpt2), built(gpt2).to(torch.bfloat16)):
            found = load_checkpoint((model, TOKENIZER))
            assert found.model is model
            assert found.dtype == str(model.dtype).removeprefix("torch.")

    def test_training_mode_stays_and_the_weights_are_shared(self):
        model = built(gpt2).train()
        found = load_checkpoint((model, TOKENIZER))
        assert model.training
        assert all(module.training for module in model.modules())
        assert not found.model.training
        assert found.model.transformer.wte.weight is model.transformer.wte.weight
        assert found.model.lm_head.weight is model.transformer.wte.weight, "tied as before"

    def test_another_dtype_is_a_copy(self, tmp_path):
        model = load_checkpoint(saved(built(llama), tmp_path), Loading(dtype="float16")).model
        found = load_checkpoint((model, TOKENIZER), Loading(dtype="float32"))
        assert (found.dtype, model.dtype) == ("float32", torch.float16)
        assert torch.equal(logits(found.model), logits(widened(model)))

    def test_its_hash_is_of_its_own_weights(self):
        model = built(gpt2)
        plain = load_checkpoint((model, TOKENIZER)).hashes
        assert load_checkpoint((model, TOKENIZER), Loading(dtype="bfloat16")).hashes == plain
        with torch.no_grad():
            model.transformer.wte.weight[0, 0] += 1
        assert load_checkpoint((model, TOKENIZER)).hashes != plain

    def test_options_for_files_mean_nothing(self):
        with pytest.raises(CheckpointError, match="in memory already"):
            load_checkpoint((built(gpt2), TOKENIZER), Loading(weights="w.bin"))


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft asks it of transformers
class TestAdapter:
    """LoRA: the model with the adapter beside its weights, and merged, say the same."""

    @pytest.fixture
    def pair(self, tmp_path):
        return self.made(tmp_path, llama)

    @staticmethod
    def made(tmp_path: Path, build) -> tuple[Path, Path, torch.Tensor]:
        from peft import LoraConfig, get_peft_model

        base = saved(built(build), tmp_path / "base")
        modules = {"llama": ["q_proj", "up_proj"], "gpt2": ["c_attn"], "neox": ["query_key_value"]}
        settings = {
            "r": 2,
            "lora_alpha": 8,
            "target_modules": modules[build.__name__],
            "task_type": "CAUSAL_LM",
        }
        fan = {"fan_in_fan_out": True} if build is gpt2 else {}
        adapted = get_peft_model(load_checkpoint(base).model, LoraConfig(**settings, **fan)).eval()
        with torch.no_grad():
            for name, value in adapted.named_parameters():
                if "lora_" in name:
                    value.normal_(std=0.5)
        adapted.save_pretrained(tmp_path / "adapter")
        TestAdapter.set_config(tmp_path / "adapter", base_model_name_or_path="../base")
        expected = logits(adapted)
        assert (expected - logits(load_checkpoint(base).model)).abs().max() > 0.01
        return tmp_path / "adapter", base, expected

    @staticmethod
    def set_config(adapter: Path, **changed: object) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    @pytest.mark.parametrize("build", [gpt2, neox, llama])
    def test_it_is_merged_into_the_base_that_it_names(self, tmp_path, build):
        adapter, base, expected = self.made(tmp_path, build)
        found = load_checkpoint(adapter)
        assert torch.allclose(logits(found.model), expected, atol=1e-5)
        assert type(found.model) is type(load_checkpoint(base).model)
        assert (found.name, found.base) == (str(adapter), "../base")
        assert found.hashes == {
            "adapter_model.safetensors": sha256(adapter / "adapter_model.safetensors"),
            "base/model.safetensors": sha256(base / "model.safetensors"),
        }

    def test_another_base_may_be_named(self, pair, tmp_path):
        adapter, base, expected = pair
        self.set_config(adapter, base_model_name_or_path="/gone/from/here")
        with pytest.raises(CheckpointError, match=r"names the base model /gone/from/here, .* with --base"):
            load_checkpoint(adapter)
        moved = base.rename(tmp_path / "moved")
        found = load_checkpoint(adapter, Loading(base=str(moved)))
        assert torch.allclose(logits(found.model), expected, atol=1e-5)
        assert found.base == str(moved)

    def test_an_absolute_path_in_the_adapter_is_not_recorded(self, pair):
        adapter, base, _ = pair
        self.set_config(adapter, base_model_name_or_path=str(base))
        assert load_checkpoint(adapter).base == "base"

    def test_its_own_tokenizer_goes_before_the_bases(self, pair):
        adapter, _, _ = pair
        other = word_tokenizer(["Tim Duncan golf"])
        assert len(load_checkpoint(adapter).tokenizer) == VOCAB
        other.save_pretrained(adapter)
        assert len(load_checkpoint(adapter).tokenizer) == len(other)
        (adapter / "tokenizer.json").write_text("{")
        with pytest.raises(CheckpointError, match=r"adapter/tokenizer\.json is not JSON"):
            load_checkpoint(adapter)

    def test_in_half_precision_and_in_float32(self, tmp_path):
        adapter, base, _ = self.made(tmp_path, llama)
        load_checkpoint(base, Loading(dtype="bfloat16")).model.save_pretrained(base)
        assert load_checkpoint(adapter).dtype == "bfloat16"
        assert load_checkpoint(adapter, Loading(dtype="float32")).dtype == "float32"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"base_model_name_or_path": None}, "names no base model: name it with --base"),
            ({"peft_type": "IA3"}, "adapter of the type 'IA3': only LORA"),
            ({"megatron_config": {"a": 1}, "megatron_core": "adapter.evil"}, "asks for Megatron's layers"),
            ({"target_modules": ["nothing"]}, "does not fit its base .*nothing"),
            ({"target_modules": ["q_proj"]}, r"no place for .*up_proj"),
            ({"target_modules": ["q_proj", "up_proj", "o_proj"]}, r"lacks .*o_proj"),
            ({"r": 3}, "does not fit its base .*size mismatch"),
        ],
    )
    def test_what_is_wrong_with_it_is_named(self, pair, changed, message):
        adapter, _, _ = pair
        self.set_config(adapter, **changed)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(adapter)

    def test_a_base_of_another_shape_or_kind_is_named(self, pair, tmp_path):
        adapter, _, _ = pair
        for build in (gpt2, neox):
            other = saved(built(build), tmp_path / build.__name__)
            with pytest.raises(CheckpointError, match="does not fit its base"):
                load_checkpoint(adapter, Loading(base=str(other)))

    def test_a_damaged_or_pickled_adapter_is_named(self, pair):
        adapter, _, _ = pair
        file = adapter / "adapter_model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[:-10])
        with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is damaged or cut short"):
            load_checkpoint(adapter)
        file.rename(adapter / "adapter_model.bin")
        with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors: it is pickled"):
            load_checkpoint(adapter)
        (adapter / "adapter_config.json").write_text("{")
        with pytest.raises(CheckpointError, match=r"adapter_config\.json is not JSON"):
            load_checkpoint(adapter)

    def test_a_base_that_is_an_adapter_is_refused(self, pair, tmp_path):
        adapter, _, _ = pair
        second = Path(shutil.copytree(adapter, tmp_path / "second"))
        with pytest.raises(CheckpointError, match="is itself an adapter"):
            load_checkpoint(second, Loading(base=str(adapter)))

    def test_a_base_for_what_is_no_adapter_is_refused(self, pair):
        _, base, _ = pair
        with pytest.raises(CheckpointError, match="is not a LoRA adapter"):
            load_checkpoint(base, Loading(base=str(base)))

    def test_without_peft_the_extra_is_named(self, pair, monkeypatch):
        adapter, _, _ = pair
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(CheckpointError, match=r"pip install 'oneway\[lora\]'"):
            load_checkpoint(adapter)
