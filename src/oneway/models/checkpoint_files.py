"""What lies in a checkpoint's directory, looked at before any library reads it: names, JSON, tensor headers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
JSON_FILES = (CONFIG, *TOKENIZER, "special_tokens_map.json", "generation_config.json", "added_tokens.json")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Settings that may name an implementation on the hub, which is code.
IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold a checkpoint's weights, and in which file each tensor lies."""

    files: tuple[Path, ...]
    file_of: Mapping[str, str]

    def place(self, tensor: str) -> str:
        """In which file a tensor lies, for a message; nothing where the library renamed the tensor."""
        found = self.file_of.get(tensor) or next(
            (file for name, file in self.file_of.items() if tensor.endswith(f".{name}")), ""
        )
        return f" in {found}" if found else ""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises CheckpointError where the file is not readable as one.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {first_line(error)}; copy the checkpoint again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not a JSON object: copy the checkpoint again")
    return content


def check_json(directory: Path) -> None:
    """Refuse a directory with a damaged configuration of model or tokenizer."""
    for name in JSON_FILES:
        if (directory / name).exists():
            read_json(directory / name)


def check_configuration(directory: Path) -> tuple[str, ...]:
    """Refuse a configuration that is missing, damaged, not one of a causal model, or that asks for code.

    Returns notes for the record.
    """
    file = directory / CONFIG
    if not file.exists():
        raise CheckpointError(f"{directory} has no config.json: it is not a Hugging Face checkpoint")
    check_json(directory)
    config = read_json(file)
    _refuse_code(file, config)
    kind = config.get("model_type")
    from transformers import CONFIG_MAPPING

    if not kind or kind not in CONFIG_MAPPING:
        own = "; its own code (auto_map) is never run" if config.get("auto_map") else ""
        unknown = f"the model type {kind!r}, which transformers does not know" if kind else "no model_type"
        raise CheckpointError(f"{file} has {unknown}{own}: save the model as a type that it knows")
    if config.get("is_encoder_decoder", getattr(CONFIG_MAPPING[kind], "is_encoder_decoder", False)):
        raise CheckpointError(
            f"{directory} is an encoder-decoder model ({kind}): an audit needs a causal language model"
        )
    return ("its config.json points at code of its own (auto_map), which was not run",) if config.get(
        "auto_map"
    ) else ()  # fmt: skip


def _refuse_code(file: Path, config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping):
            _refuse_code(file, value)
        if key == "transformers_weights":
            raise CheckpointError(
                f"{file} names a file of weights ({value!r}): name it with --weights instead"
            )
        if key in IMPLEMENTATIONS and "/" in json.dumps(value):
            raise CheckpointError(f"{file} asks for code from the hub ({key} {value!r}): remove that setting")


def weight_files(directory: Path) -> WeightFiles:
    """The safetensors files of a checkpoint, one or many shards, with their headers read.

    Raises CheckpointError where there are none, where one is missing, damaged or cut short, and where the
    index puts a tensor into a file that does not hold it.
    """
    if (directory / WEIGHTS).exists():
        return safetensors_files(directory, (WEIGHTS,))
    index = directory / WEIGHTS_INDEX
    if not index.exists():
        raise CheckpointError(_no_weights(directory))
    where = shard_names(index)
    found = safetensors_files(directory, tuple(sorted(set(where.values()))))
    for tensor, shard in where.items():
        if found.file_of.get(tensor) != shard:
            raise CheckpointError(f"{index} says that {shard} holds {tensor}, but it does not")
    return found


def shard_names(index: Path) -> Mapping[str, str]:
    """Which file of the index's own directory holds each tensor."""
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(f"{index} has no weight_map (tensor to file): save the checkpoint again")
    for name in sorted(set(where.values())):
        plain_name(index, name)
    return where


def plain_name(where: Path, name: str) -> str:
    """A file's name that cannot lead out of its directory."""
    if not name or name in (".", "..") or Path(name).name != name or "\\" in name:
        raise CheckpointError(f"{where}: {name!r} is not the name of a file in the checkpoint's directory")
    return name


def safetensors_files(directory: Path, names: tuple[str, ...]) -> WeightFiles:
    """Read the headers of some safetensors files.

    Raises CheckpointError for the first that is missing, damaged or cut short.
    """
    file_of: dict[str, str] = {}
    for name in names:
        file = directory / name
        if not file.exists():
            raise CheckpointError(f"{directory} lacks {name}: copy the checkpoint again, with every file")
        try:
            with safe_open(file, framework="pt") as opened:
                file_of |= dict.fromkeys(opened.keys(), name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file} is damaged or cut short ({first_line(error)}): copy it again"
            ) from None
    return WeightFiles(tuple(directory / name for name in names), file_of)


def _no_weights(directory: Path) -> str:
    pickles = sorted(file.name for file in directory.iterdir() if file.suffix in PICKLES)
    others = sorted(file.name for file in directory.glob("*.safetensors"))
    if others:
        found = f"it has {', '.join(others[:3])}, but no {WEIGHTS}; --weights FILE names one"
    elif pickles:
        found = f"it has {', '.join(pickles)}, but a pickle can run code; --weights FILE names one to be read"
    else:
        found = "it has none at all; save_pretrained writes them"
    return f"{directory} has no safetensors weights: {found}"


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
