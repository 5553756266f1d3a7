"""Any Hugging Face causal language model, read with care: safetensors unless named, no code from the checkpoint."""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as hf_logging

from oneway.evidence import sha256
from oneway.models.adapter import base_of, check_adapter, merged
from oneway.models.checkpoint_files import (
    ADAPTER_CONFIG,
    TOKENIZER,
    CheckpointError,
    WeightFiles,
    check_configuration,
    check_json,
    first_line,
    safetensors_files,
    weight_files,
)
from oneway.models.hub import ADAPTER_WEIGHTS, hub_directory
from oneway.models.named_weights import named_weights
from oneway.models.placement import DeviceMap, check_device_map, is_spread
from oneway.models.soundness import check_causal, check_finite, check_tokenizer

__all__ = ["Checkpoint", "CheckpointError", "Dtype", "Loading", "Source", "load_checkpoint"]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How a checkpoint is read.

    `device` is "auto" (CUDA where there is one), "cpu" or "cuda". `dtype` is the number format of the weights:
    "auto" is the checkpoint's own. `weights` names a file of the checkpoint's directory to be read instead of
    its safetensors, which may be a pickle or an index of pickles: then no more than tensors is read from it.
    `base` is the directory or hub name of a LoRA adapter's base model, where it is not the one that the adapter
    names. `device_map`, instead of `device`, is for models that outgrow one: where each part of the model is kept, as
    accelerate has it ("auto", or {"model.layers.0": 0, …}; "cpu" and "disk" are brought to a device when they run).
    """

    device: str = "auto"
    dtype: Dtype = "auto"
    weights: str = ""
    base: str = ""
    device_map: DeviceMap | None = None

    def __post_init__(self) -> None:
        """Raises CheckpointError for an unknown dtype or device, and for a device map without accelerate."""
        if self.device_map is not None:
            check_device_map()
        if self.dtype not in get_args(Dtype):
            raise CheckpointError(f"dtype is {self.dtype!r}, but it is one of: {', '.join(get_args(Dtype))}")
        if self.device != "auto" and self.device.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise CheckpointError(f"device is {self.device!r}, but it is one of: auto, cpu, cuda")

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The dtype asked for, None where it is the checkpoint's own."""
        return None if self.dtype == "auto" else getattr(torch, self.dtype)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in evaluation mode with its tokenizer.

    `name` is what the user called it. `hashes` are SHA-256 of the weight files, by name; for a model that was
    never a file, of its weights. `base` names the base of a LoRA adapter, whose files' hashes begin with
    "base/". `notes` say what a reader of the numbers should know of how it was read. `dtype` is the number format
    that it computes in ("bfloat16").
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    notes: tuple[str, ...] = ()
    dtype: str = ""

    @property
    def positions(self) -> int | None:
        """The most tokens that a text may have, None where the model sets no limit."""
        return getattr(self.model.config, "max_position_embeddings", None) or None

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that decides a number, as JSON holds it: weights, tokenizer, format; not what it was called."""
        return {
            "hashes": dict(self.hashes),
            "base": self.base,
            "notes": list(self.notes),
            "dtype": self.dtype,
            "architecture": self.model.config.to_json_string(),
            "device": str(self.model.device.type),
            "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
        }


Source = str | Path | Checkpoint | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load_checkpoint(source: Source, loading: Loading | None = None) -> Checkpoint:
    """A model and its tokenizer from a directory, a hub name, or a pair already in memory.

    A directory holds a checkpoint, whole or in shards, or a LoRA adapter, which is merged into its base. Weights
    are read from safetensors files unless `loading` names another; code in the checkpoint is never run. A model
    already in memory is left as it is: where another dtype, device or mode is needed, a copy is used.

    Raises CheckpointError where there is no such checkpoint; where a file of it is missing, damaged or does not
    fit the others; where it has no fast tokenizer; and where it is not a causal language model.
    """
    loading = loading or Loading()
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, tuple):
        return _in_memory(*source, loading)
    name, directory = str(source), _directory(source, loading.weights)
    if (directory / ADAPTER_CONFIG).exists():
        found = _with_adapter(directory, name, loading)
    else:
        if loading.base:
            raise CheckpointError(f"{name} is not a LoRA adapter: --base {loading.base} has nothing to do")
        found = _read(directory, name, loading)
    model = found.model.eval()
    if loading.device_map is None:
        model = model.to(_device(loading.device))
    return replace(found, model=model, dtype=_name(model.dtype))


def _directory(source: str | Path, weights: str = "") -> Path:
    """The directory that a path or a hub name stands for."""
    name, directory = str(source), Path(source).expanduser()
    if directory.is_dir():
        return directory
    if directory.exists():
        raise CheckpointError(f"{name} is a file: a checkpoint is a directory with config.json and weights")
    if isinstance(source, Path) or name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise CheckpointError(f"there is no checkpoint directory {name}")
    return hub_directory(name, weights)


def _with_adapter(directory: Path, name: str, loading: Loading) -> Checkpoint:
    check_adapter(directory)
    if loading.device_map is not None:
        raise CheckpointError(
            f"{name} is a LoRA adapter, which is merged in one device's memory: save the merged model, and open that "
            "with the device map"
        )
    files = safetensors_files(directory, (ADAPTER_WEIGHTS,))
    where, called = (loading.base, loading.base) if loading.base else base_of(directory)
    base_directory = _directory(where, loading.weights)
    if (base_directory / ADAPTER_CONFIG).exists():
        raise CheckpointError(
            f"the base {called} of {name} is itself an adapter: merge and save that one first"
        )
    own = any((directory / file).exists() for file in TOKENIZER)
    base = _read(base_directory, called, loading, tokenizer_from=directory if own else None)
    model = merged(base.model, directory, called)
    check_finite(model, f"{name}, merged into {called},")
    hashes = {ADAPTER_WEIGHTS: sha256(files.files[0])}
    hashes |= {f"base/{file}": digest for file, digest in base.hashes.items()}
    return Checkpoint(model, base.tokenizer, name, hashes, base=called, notes=base.notes)


def _read(directory: Path, name: str, loading: Loading, tokenizer_from: Path | None = None) -> Checkpoint:
    """The checkpoint of a directory, on the CPU and not looked ahead with."""
    notes = check_configuration(directory)
    if loading.weights:
        files, state = named_weights(directory, loading.weights)
    else:
        files, state = weight_files(directory), None
    _check_tokenizer_files(tokenizer_from or directory, name)
    with quietly():
        model, notes_of_weights = _model(directory, name, loading, files, state)
    tokenizer = _tokenizer(tokenizer_from or directory, name)
    check_tokenizer(model, tokenizer, name)
    check_finite(model, name, files)
    check_causal(model, name)
    hashes = {file.name: sha256(file) for file in files.files}
    return Checkpoint(model, tokenizer, name, hashes, notes=(*notes, *notes_of_weights))


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer alone of a checkpoint directory or a hub name. Raises CheckpointError where it does not load."""
    directory = _directory(source)
    _check_tokenizer_files(directory, str(source))
    return _tokenizer(directory, str(source))


def _check_tokenizer_files(directory: Path, name: str) -> None:
    check_json(directory)
    if not any((directory / file).exists() for file in TOKENIZER):
        raise CheckpointError(
            f"{name} has no tokenizer: save it beside the weights (tokenizer.save_pretrained)"
        )


def _tokenizer(directory: Path, name: str) -> PreTrainedTokenizerBase:
    try:
        with quietly():
            return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception for a damaged file
        raise CheckpointError(f"the tokenizer of {name} does not load: {first_line(error)}") from error


def _model(
    directory: Path, name: str, loading: Loading, files: WeightFiles, state: Mapping[str, Tensor] | None
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model with its weights, each in its place; and a note on weights that it has no place for."""
    options: dict[str, Any] = {
        "dtype": loading.torch_dtype or "auto",
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are all reported, and refused here
    }
    if loading.device_map is not None:
        options["device_map"] = loading.device_map
    try:
        if state is None:
            safe = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
            model, report = AutoModelForCausalLM.from_pretrained(directory, **safe, **options)
        else:
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
            family = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            model, report = family.from_pretrained(None, config=config, state_dict=dict(state), **options)
        model.eval()
    except Exception as error:  # whatever a damaged or foreign checkpoint raises
        raise CheckpointError(
            f"{name} does not load as a causal language model: {first_line(error)}"
        ) from error
    kind = type(model).__name__
    if report["mismatched_keys"]:
        tensor, stored, expected = min(report["mismatched_keys"])
        raise CheckpointError(
            f"{tensor}{files.place(tensor)} has the shape {list(stored)}, but the {kind} of {name}'s config.json "
            f"needs {list(expected)}: weights and configuration are not of one model"
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(
            f"{name} lacks {len(missing)} weights of a {kind}, which would be random: {', '.join(missing[:3])}"
        )
    return model, _unused(model, name, sorted(report["unexpected_keys"]), files)


def _unused(model: PreTrainedModel, name: str, tensors: list[str], files: WeightFiles) -> tuple[str, ...]:
    """A note on weights that the model does not use.

    Raises CheckpointError where they are those of further layers: the configuration is another model's.
    """

    def form(tensor: str) -> str:
        return ".".join("N" if part.isdigit() else part for part in tensor.split("."))

    known = {form(tensor) for tensor in model.state_dict() if form(tensor) != tensor}
    for tensor in tensors:
        if any(
            form(tensor) == k or form(tensor) == f"N.{k}" or k.endswith(f".{form(tensor)}") for k in known
        ):
            raise CheckpointError(
                f"{tensor}{files.place(tensor)} is of a layer that the config.json of {name} does not have: weights "
                "and configuration are not of one model"
            )
    if not tensors:
        return ()
    shown = ", ".join(tensors[:3]) + (", …" if len(tensors) > 3 else "")
    return (f"{len(tensors)} tensors of the checkpoint are not used by {type(model).__name__}: {shown}",)


def _in_memory(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loading: Loading) -> Checkpoint:
    """A pair that the caller holds, whose model is not touched."""
    name, hashes = type(model).__name__, {"weights": _hash_of_weights(model)}
    if loading.base or loading.weights or loading.device_map is not None:
        raise CheckpointError(
            "base, weights and device_map are for checkpoints in files: this model is in memory already"
        )
    if is_spread(model):
        raise CheckpointError(
            "this model is spread over several devices or kept on disk: give its directory and the device map instead"
        )
    check_tokenizer(model, tokenizer, name)
    dtype = loading.torch_dtype or model.dtype
    device = model.device if loading.device == "auto" else _device(loading.device)
    if dtype != model.dtype or device.type != model.device.type:
        model = copy.deepcopy(model).to(device)
        for value in model.state_dict(
            keep_vars=True
        ).values():  # not what it computes itself, as rotary frequencies
            value.data = value.data.to(dtype) if value.is_floating_point() else value.data
    elif model.training:  # the modules are copied, their tensors are not
        tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        model = copy.deepcopy(model, tensors)
    model.eval()
    check_finite(model, name)
    check_causal(model, name)
    return Checkpoint(model, tokenizer, name, hashes, dtype=_name(model.dtype))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(f"--device {name}: this machine has no CUDA device; use auto or cpu")
    return torch.device(name)


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


@contextmanager
def quietly() -> Iterator[None]:
    """What the library would say of a checkpoint is said here, as errors and notes."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        with without_progress_bars():
            yield
    finally:
        hf_logging.set_verbosity(verbosity)


def _hash_of_weights(model: PreTrainedModel) -> str:
    """SHA-256 over the names and bytes of all parameters, for a model that is in memory only."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
