"""A checkpoint by its name on the hub: from the network where it answers, else from this machine's cache.

Environment: `HF_HUB_OFFLINE=1` asks nothing of the network, `HF_HOME` is where the cache lies, `HF_ENDPOINT`
another hub, `HF_TOKEN` the token of an account that may read a gated or private model.
"""

import os
from pathlib import Path

from oneway.models.checkpoint_files import (
    ADAPTER_CONFIG,
    CONFIG,
    PICKLES,
    WEIGHTS,
    WEIGHTS_INDEX,
    CheckpointError,
    first_line,
    plain_name,
    shard_names,
)

SECONDS = 5.0  # the hub's first answer; the library's own calls try again for half a minute
SMALL_FILES = (".json", ".jinja", ".txt", ".model")
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def hub_directory(name: str, weights: str = "") -> Path:
    """The local directory with a hub model's files, fetched where they are not in the cache yet.

    Fetched are configuration, tokenizer and safetensors weights, or the file of `weights` in their stead.

    Raises CheckpointError, after some seconds at most, where the hub does not know the name or cannot be
    reached and the cache does not have the model; and where the download fails.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(name, timeout=SECONDS)
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        cached = _cached(name)
        if cached is not None:
            return cached
        raise CheckpointError(_why(name, error)) from None
    names = [file.rfilename for file in found.siblings or () if "/" not in file.rfilename]
    try:
        directory = _fetch(name, [file for file in names if file.endswith(SMALL_FILES)])
        _fetch(name, _weight_names(name, names, directory, weights))
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"the download of {name} failed: {first_line(error)}; try again") from None
    return directory


def _weight_names(name: str, names: list[str], directory: Path, weights: str) -> list[str]:
    """The files with the weights, of those that the hub has."""
    if (directory / ADAPTER_CONFIG).exists():
        return [ADAPTER_WEIGHTS]
    if weights:  # of the base, where the model is an adapter
        if plain_name(directory, weights) not in names:
            raise CheckpointError(f"{name} has no file {weights} on the hub; it has: {', '.join(names)}")
        return [weights]
    if WEIGHTS in names:
        return [WEIGHTS]
    if WEIGHTS_INDEX in names:
        return sorted(set(shard_names(directory / WEIGHTS_INDEX).values()))
    pickles = [file for file in names if file.endswith(PICKLES)]
    has = (
        f"it has {', '.join(pickles)}, but a pickle can run code; --weights FILE names one" if pickles else ""
    )
    raise CheckpointError(f"{name} has no safetensors weights on the hub: {has or 'it has none at all'}")


def _fetch(name: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=files))


def _cached(name: str) -> Path | None:
    """The directory of the model's newest files in the cache, whatever of them there is."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for file in (CONFIG, ADAPTER_CONFIG):
            found = try_to_load_from_cache(name, file)
            if isinstance(found, str):
                return Path(found).parent
    except HFValidationError:  # no possible name
        pass
    return None


def _why(name: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return f"there is no directory {name}, and no model on the hub can have that name"
    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: accept its terms on {constants.ENDPOINT}/{name}, "
            "then set HF_TOKEN (or log in with `hf auth login`)"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no directory {name} here and no model {name} on {constants.ENDPOINT} that this machine "
            "may see; a private one needs HF_TOKEN"
        )
    where = f"the cache does not have it (HF_HOME says where that is; now {_short(constants.HF_HUB_CACHE)})"
    if isinstance(error, OfflineModeIsEnabled):
        return f"there is no directory {name}; the hub is not asked (HF_HUB_OFFLINE is set) and {where}"
    return (
        f"there is no directory {name}; the hub cannot be reached ({constants.ENDPOINT}: {first_line(error)}) "
        f"and {where}; where there is a network, `hf download {name}` fetches it"
    )


def _short(path: str) -> str:
    """A path without the name of the user's own directory."""
    home = os.path.expanduser("~")
    return f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path
