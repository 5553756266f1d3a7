"""Every way in which a checkpoint can be wrong: what is said of it, where it stands, and that nothing is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from oneway.models.checkpoint import CheckpointError, Loading, load_checkpoint
from oneway.models.checkpoint_files import WEIGHTS, WEIGHTS_INDEX
from oneway.models.tokens import word_tokenizer

TOKENIZER = word_tokenizer(["Tim Duncan plays basketball"])
SECOND_LAYER = "transformer.h.1.mlp.c_fc.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(gpt2(), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = saved(gpt2(), tmp_path_factory.mktemp("sharded"), max_shard_size="2KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    return directory


def gpt2(**changed: object) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = {"n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 1, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(TOKENIZER), **(shape | changed)))


def saved(model: torch.nn.Module, directory: Path, **options: object) -> Path:
    model.save_pretrained(directory, **options)
    TOKENIZER.save_pretrained(directory)
    return directory


def configured(directory: Path, **changed: object) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(directory / WEIGHTS)
    change(tensors)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def cut(file: Path, bytes_left: int) -> None:
    file.write_bytes(file.read_bytes()[:bytes_left])


def damaged(directory: Path) -> None:
    weights(directory, lambda t: t["transformer.wte.weight"].view(-1)[3].fill_(torch.nan))


def replaced(directory: Path, model: torch.nn.Module) -> None:
    shutil.rmtree(directory)
    saved(model, directory)


def bert() -> BertLMHeadModel:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    return BertLMHeadModel(BertConfig(vocab_size=len(TOKENIZER), initializer_range=1.0, **shape))


def bart() -> BartForConditionalGeneration:
    shape = {
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8,
    }
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1, "max_position_embeddings": 16}
    return BartForConditionalGeneration(BartConfig(vocab_size=len(TOKENIZER), **shape, **heads))


def t5() -> T5ForConditionalGeneration:
    shape = {"d_model": 8, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_heads": 1}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(TOKENIZER), **shape))


def with_more_tokens(directory: Path) -> None:
    word_tokenizer(["Tim Duncan plays basketball and sings and dances"]).save_pretrained(directory)


def with_a_slow_tokenizer(directory: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (directory / file).unlink(missing_ok=True)
    (directory / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')


def unindexed(directory: Path, change: Callable[[dict], object]) -> None:
    index = json.loads((directory / WEIGHTS_INDEX).read_text())
    change(index)
    (directory / WEIGHTS_INDEX).write_text(json.dumps(index))


def shard(directory: Path) -> Path:
    return sorted(directory.glob("model-*.safetensors"))[1]


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda d: (d / "config.json").unlink(), r"has no config\.json"),
    "config not JSON": (lambda d: (d / "config.json").write_text("{"), r"config\.json is not JSON"),
    "config not UTF-8": (
        lambda d: (d / "config.json").write_bytes(b'{"a": "\xff"}'),
        r"config\.json is not JSON",
    ),
    "config nested too deep": (
        lambda d: (d / "config.json").write_text("[" * 10**5),
        r"config\.json is not JSON",
    ),
    "config a list": (lambda d: (d / "config.json").write_text("[]"), r"config\.json is not a JSON object"),
    "config of a wrong type": (lambda d: configured(d, n_embd="wide"), "does not load .*n_embd"),
    "no model type": (lambda d: configured(d, model_type=None), r"config\.json has no model_type"),
    "an unknown model type": (
        lambda d: configured(d, model_type="new"),
        "'new', which transformers does not know",
    ),
    "an unknown model type with code": (
        lambda d: configured(d, model_type="new", auto_map={"AutoConfig": "code.C"}),
        r"its own code \(auto_map\) is never run",
    ),
    "code from the hub for attention": (
        lambda d: configured(d, attn_implementation="someone/kernel"),
        "asks for code from the hub",
    ),
    "weights named by the config": (
        lambda d: configured(d, transformers_weights="other.safetensors"),
        "names a file of weights",
    ),
    "an encoder": (lambda d: replaced(d, bert()), "encoder, not a causal language model"),
    "a decoder with its encoder": (lambda d: replaced(d, bart()), r"encoder-decoder model \(bart\)"),
    "sequence to sequence": (lambda d: replaced(d, t5()), r"encoder-decoder model \(t5\)"),
    "no weights": (lambda d: (d / WEIGHTS).unlink(), "no safetensors weights: it has none at all"),
    "weights pickled": (
        lambda d: (d / WEIGHTS).rename(d / "pytorch_model.bin"),
        r"pytorch_model\.bin, but a pickle can run code; --weights",
    ),
    "weights under another name": (
        lambda d: (d / WEIGHTS).rename(d / "my.safetensors"),
        r"my\.safetensors, but no model\.safetensors",
    ),
    "weights that are no weights": (
        lambda d: (d / WEIGHTS).write_bytes(b"no"),
        r"model\.safetensors is damaged",
    ),
    "weights empty": (
        lambda d: (d / WEIGHTS).write_bytes(b""),
        r"model\.safetensors is damaged or cut short",
    ),
    "weights cut in the header": (
        lambda d: cut(d / WEIGHTS, 100),
        r"model\.safetensors is damaged or cut short",
    ),
    "weights cut in the body": (
        lambda d: cut(d / WEIGHTS, -20),
        r"model\.safetensors is damaged or cut short",
    ),
    "a tensor of another shape": (
        lambda d: weights(d, lambda t: t.update({SECOND_LAYER: torch.zeros(8, 31)})),
        rf"{SECOND_LAYER} in model\.safetensors has the shape \[8, 31\].*needs \[8, 32\]",
    ),
    "another width in the config": (
        lambda d: configured(d, n_embd=4),
        r"in model\.safetensors has the shape",
    ),
    "more layers in the config": (
        lambda d: configured(d, n_layer=3),
        "lacks 12 weights of a GPT2LMHeadModel",
    ),
    "fewer layers in the config": (
        lambda d: configured(d, n_layer=1),
        r"transformer\.h\.1\..* in model\.safetensors is of a layer that the config\.json",
    ),
    "a tensor missing": (
        lambda d: weights(d, lambda t: t.pop(SECOND_LAYER)),
        rf"lacks 1 weights of a GPT2LMHeadModel.*{SECOND_LAYER}",
    ),
    "a tensor with NaN": (
        damaged,
        r"transformer\.wte\.weight in model\.safetensors of .* holds 1 values that are NaN",
    ),
    "no tokenizer": (
        lambda d: [f.unlink() for f in d.glob("tokenizer*")],
        "no tokenizer: save it beside the weights",
    ),
    "tokenizer not JSON": (lambda d: cut(d / "tokenizer.json", 50), r"tokenizer\.json is not JSON"),
    "tokenizer JSON of something else": (
        lambda d: (d / "tokenizer.json").write_text("{}"),
        "tokenizer of .* not load",
    ),
    "tokenizer's settings not JSON": (
        lambda d: (d / "tokenizer_config.json").write_text("x"),
        r"tokenizer_config\.json is not JSON",
    ),
    "a tokenizer larger than the embedding": (with_more_tokens, r"has 9 tokens, its embedding only 6 rows"),
    "a slow tokenizer": (with_a_slow_tokenizer, "slow tokenizer"),
}
BROKEN_SHARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard missing": (lambda d: shard(d).unlink(), r"lacks model-00002-of-.*\.safetensors"),
    "a shard cut short": (
        lambda d: cut(shard(d), -9),
        r"model-00002-of-.*\.safetensors is damaged or cut short",
    ),
    "index not JSON": (lambda d: cut(d / WEIGHTS_INDEX, 9), r"index\.json is not JSON"),
    "index without a map": (lambda d: unindexed(d, lambda i: i.pop("weight_map")), "has no weight_map"),
    "index to another directory": (
        lambda d: unindexed(d, lambda i: i["weight_map"].update({SECOND_LAYER: "../stolen.safetensors"})),
        r"'\.\./stolen\.safetensors' is not the name of a file in the checkpoint's directory",
    ),
    "a tensor not where the index puts it": (
        lambda d: unindexed(d, lambda i: i["weight_map"].update({SECOND_LAYER: shard(d).name})),
        rf"says that model-00002-of-.* holds {SECOND_LAYER}",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_checkpoint_is_named(
    whole: Path, tmp_path: Path, break_it: Callable[[Path], object], message: str
):
    directory = Path(shutil.copytree(whole, tmp_path / "model"))
    break_it(directory)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


@pytest.mark.parametrize(("break_it", "message"), BROKEN_SHARDS.values(), ids=BROKEN_SHARDS)
def test_what_is_wrong_with_a_shard_is_named(
    sharded: Path, tmp_path: Path, break_it: Callable[[Path], object], message: str
):
    directory = Path(shutil.copytree(sharded, tmp_path / "model"))
    break_it(directory)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


class Payload:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("payload", "holds more than tensors: reading it could run code"),
        ("payload beside tensors", "holds more than tensors: reading it could run code"),
        ("nested", "is not a dictionary of tensors by name, but has: model, step"),
        ("list", "is not a dictionary of tensors by name, but has: list"),
        ("text", "is damaged, or no file of torch.save|holds more than tensors"),
        ("cut", "is damaged, or no file of torch.save"),
        ("empty", "is damaged, or no file of torch.save"),
    ],
)
def test_a_pickle_that_is_named_is_read_for_tensors_only(
    whole: Path, tmp_path: Path, content: str, message: str
):
    directory, mark = Path(shutil.copytree(whole, tmp_path / "model")), tmp_path / "ran"
    tensors = gpt2().state_dict()
    what = {
        "payload": Payload(mark),
        "payload beside tensors": tensors | {"extra": Payload(mark)},
        "nested": {"model": tensors, "step": 3},
        "list": list(tensors.values()),
    }
    file = directory / "weights.bin"
    torch.save(what.get(content, tensors), file)
    if content == "text":
        file.write_text("no weights\n")
    elif content in ("cut", "empty"):
        cut(file, 1000 if content == "cut" else 0)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory, Loading(weights="weights.bin"))
    assert not mark.exists()
    if "payload" in content:
        torch.load(file, weights_only=False)
        assert mark.exists(), "the payload is a real one"


@pytest.mark.parametrize(
    "name", ["../weights.bin", "/etc/passwd", "sub/weights.bin", "..", "missing.bin", "a\\b.bin"]
)
def test_the_file_named_lies_in_the_directory(whole: Path, name: str):
    with pytest.raises(
        CheckpointError, match=r"is not the name of a file in the checkpoint's|has no file missing"
    ):
        load_checkpoint(whole, Loading(weights=name))


def test_a_token_beyond_the_embedding_by_its_number_alone_is_found(whole: Path, tmp_path: Path):
    """As many tokens as rows, but one of them numbered past the last row."""
    directory = Path(shutil.copytree(whole, tmp_path / "model"))
    content = json.loads((directory / "tokenizer.json").read_text())
    content["model"]["vocab"]["plays"] = 60
    (directory / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="has 61 tokens, its embedding only 6 rows"):
        load_checkpoint(directory)


def test_a_bidirectional_llama_is_no_causal_model(tmp_path: Path):
    """The kind alone does not tell: the proof is made on the logits."""
    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        attn_implementation="eager",
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    load_checkpoint((model, TOKENIZER))
    original = model.model.forward
    model.model.forward = lambda input_ids, **_: original(  # type: ignore[method-assign]
        input_ids, attention_mask=torch.zeros(2, 1, input_ids.shape[1], input_ids.shape[1])
    )
    with pytest.raises(CheckpointError, match="looks at the tokens behind"):
        load_checkpoint((model, TOKENIZER))


def poisoned(directory: Path) -> None:
    torch.save({"weights": Payload(directory / "ran")}, directory / "weights.bin")


@pytest.mark.parametrize(
    ("break_it", "message", "options"),
    [
        (*BROKEN["weights cut in the body"], []),
        (*BROKEN["a tokenizer larger than the embedding"], []),
        (poisoned, "holds more than tensors", ["--weights", "weights.bin"]),
    ],
    ids=["cut", "tokenizer", "payload"],
)
def test_the_command_says_it_with_status_2_and_writes_nothing(
    whole: Path, tmp_path: Path, break_it: Callable[[Path], object], message: str, options: list[str]
):
    break_it(Path(shutil.copytree(whole, tmp_path / "model")))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["audit", "--model", "model", "--facts", "parents", "--out", "found", *options]
    done = subprocess.run(
        [sys.executable, "-m", "oneway.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.match(f"oneway: .*{message}", line)
    assert sorted(tmp_path.rglob("*")) == before
