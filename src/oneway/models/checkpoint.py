"""Any Hugging Face causal language model, read with care: safetensors only, no code from the checkpoint."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import cached_file
from transformers.utils import logging as hf_logging

from oneway.evidence import sha256

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in float32 and evaluation mode with its tokenizer.

    `hashes` are SHA-256 of the weight files, by name; for a model that was never a file, of its weights.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    hashes: Mapping[str, str] = field(default_factory=dict)


Source = str | Path | Checkpoint | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load_checkpoint(source: Source, device: str = "auto") -> Checkpoint:
    """A model and its tokenizer from a directory, a hub name, or a pair already in memory.

    `device` is "auto" (CUDA where there is one), "cpu" or "cuda". Weights are read from safetensors files
    only and code in the checkpoint is never run. A model already in memory is itself put into float32 and
    evaluation mode.

    Raises CheckpointError where there is no such checkpoint, where it lacks weights, a configuration or a
    fast tokenizer, and where it is not a causal language model.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, tuple):
        model, tokenizer = source
        return _checked(model, tokenizer, type(model).__name__, {"weights": _hash_of_weights(model)}, device)
    name = str(source)
    directory = Path(source).expanduser()
    if directory.is_dir():
        _refuse_incomplete(directory)
        name = str(directory)
    elif directory.exists():
        raise CheckpointError(f"{name} is a file: a checkpoint is a directory with config.json and weights")
    elif isinstance(source, Path) or name.count("/") > 1 or name.startswith((".", "~")):
        raise CheckpointError(f"there is no checkpoint directory {name}")
    model, tokenizer = _read(name)
    found = directory if directory.is_dir() else _cached_directory(model)
    hashes = {file.name: sha256(file) for file in sorted(found.glob("*.safetensors"))} if found else {}
    return _checked(model, tokenizer, name, hashes or {"weights": _hash_of_weights(model)}, device)


def _refuse_incomplete(directory: Path) -> None:
    """Say what is missing before the library does, in words of this directory."""
    if (directory / "adapter_config.json").exists():
        raise CheckpointError(f"{directory} is a LoRA adapter: merge it into its base model first")
    config = directory / "config.json"
    if not config.exists():
        raise CheckpointError(f"{directory} has no config.json: it is not a Hugging Face checkpoint")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{config} is not JSON: {error}") from None
    if not any(directory.glob("*.safetensors")):
        pickles = sorted(file.name for file in directory.iterdir() if file.suffix in PICKLES)
        found = f"it has {', '.join(pickles)}, but a pickle can run code" if pickles else "it has none at all"
        raise CheckpointError(f"{directory} has no safetensors weights: {found}; save_pretrained writes them")
    if not any((directory / file).exists() for file in ("tokenizer.json", "tokenizer_config.json")):
        raise CheckpointError(
            f"{directory} has no tokenizer: save it beside the weights (tokenizer.save_pretrained)"
        )


def _read(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        with without_progress_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a damaged or foreign checkpoint raises
        raise CheckpointError(
            f"{name} does not load as a causal language model: {_first_line(error)}"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"{name} lacks {len(missing)} weights of a {type(model).__name__}, which would be random: "
            f"{', '.join(missing[:3])}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception for a damaged file
        raise CheckpointError(f"the tokenizer of {name} does not load: {_first_line(error)}") from error
    return model, tokenizer


def _checked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    hashes: Mapping[str, str],
    device: str,
) -> Checkpoint:
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{name} has a slow tokenizer, which gives no character offsets: save it as tokenizer.json"
        )
    if model.get_output_embeddings() is None:
        raise CheckpointError(f"{name} has no language-model head: it is not a causal language model")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CheckpointError("--device cuda: this machine has no CUDA device; use auto or cpu")
    return Checkpoint(model.float().to(device).eval(), tokenizer, name, hashes)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Loading shows no bar of its own: the caller's progress is the only one."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def _cached_directory(model: PreTrainedModel) -> Path | None:
    """Where the hub's files of this model lie on this machine."""
    name, revision = model.config._name_or_path, getattr(model.config, "_commit_hash", None)
    file = cached_file(name, "config.json", revision=revision, local_files_only=True)
    return Path(file).parent if file else None


def _hash_of_weights(model: PreTrainedModel) -> str:
    """SHA-256 over the names and bytes of all parameters, for a model that is in memory only."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
