"""Weights from a file that the user names: a pickle is read for its tensors and nothing else."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from oneway.models.checkpoint_files import (
    CheckpointError,
    WeightFiles,
    first_line,
    plain_name,
    safetensors_files,
    shard_names,
)


def named_weights(directory: Path, name: str) -> tuple[WeightFiles, dict[str, Tensor]]:
    """The tensors of the file (or of the index of files) that the user names."""
    file = directory / plain_name(directory, name)
    if not file.is_file():
        raise CheckpointError(f"{directory} has no file {name}")
    shards = sorted(set(shard_names(file).values())) if name.endswith(".json") else [name]
    state: dict[str, Tensor] = {}
    file_of: dict[str, str] = {}
    for shard in shards:
        if shard.endswith(".safetensors"):
            safetensors_files(directory, (shard,))
        found = _tensors(directory / shard)
        state |= found
        file_of |= dict.fromkeys(found, shard)
    return WeightFiles(tuple(directory / shard for shard in shards), file_of), state


def _tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, or of one pickle from which nothing but tensors is read."""
    if not file.is_file():
        raise CheckpointError(f"{file.parent} lacks {file.name}: copy the checkpoint again, with every file")
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} holds more than tensors: reading it could run code, so it was not read; "
            "save the weights as safetensors where you trust them"
        ) from None
    except Exception as error:  # a file that is cut short, or no such file at all
        raise CheckpointError(f"{file} is damaged, or no file of torch.save: {first_line(error)}") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        keys = ", ".join(map(str, list(found)[:4])) if isinstance(found, dict) else type(found).__name__
        raise CheckpointError(f"{file} is not a dictionary of tensors by name, but has: {keys}")
    return found
