"""A LoRA adapter becomes a plain model: its weights are added to those of its base."""

import warnings
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedModel

from oneway.models.checkpoint_files import ADAPTER_CONFIG, CheckpointError, first_line, read_json
from oneway.models.hub import ADAPTER_WEIGHTS


def check_adapter(directory: Path) -> None:
    """Refuse what is no LoRA adapter in safetensors, and a missing library, before a base is loaded."""
    settings = read_json(directory / ADAPTER_CONFIG)
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{directory} is an adapter of the type {kind!r}: only LORA can be merged here")
    if settings.get("megatron_config"):
        raise CheckpointError(
            f"{directory / ADAPTER_CONFIG} asks for Megatron's layers: that is not run here"
        )
    if not (directory / ADAPTER_WEIGHTS).exists():
        pickle = ": it is pickled, and a pickle can run code" if list(directory.glob("*.bin")) else ""
        raise CheckpointError(
            f"{directory} has no {ADAPTER_WEIGHTS}{pickle}; save_pretrained of a current peft writes it"
        )
    try:
        import peft  # noqa: F401
    except ImportError:
        raise CheckpointError(
            f"{directory} is a LoRA adapter, which needs the extra `lora`: pip install 'oneway[lora]'"
        ) from None


def base_of(directory: Path) -> tuple[str, str]:
    """Where an adapter's base lies (a directory or a hub name), and what to call it in a record.

    A relative path is looked for beside the adapter's own files, then from the working directory.
    """
    named = read_json(directory / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise CheckpointError(f"{directory / ADAPTER_CONFIG} names no base model: name it with --base")
    for path in (directory / named, Path(named)):
        if path.is_dir():
            # Another machine's absolute path is nobody's business in a record.
            return str(path), Path(named).name if Path(named).is_absolute() else named
    if Path(named).is_absolute() or named.startswith(".") or named.count("/") > 1:
        raise CheckpointError(
            f"{directory / ADAPTER_CONFIG} names the base model {named}, which is not there: "
            "name its directory with --base"
        )
    return named, named


def merged(base: PreTrainedModel, directory: Path, base_name: str) -> PreTrainedModel:
    """The base with the adapter added to its weights, in the base's own dtype.

    Raises CheckpointError where the adapter is not one of this base: a module that the base does not have,
    another shape, or weights that would stay at their start.
    """
    from peft import LoraConfig, PeftModel
    from safetensors import safe_open

    with safe_open(directory / ADAPTER_WEIGHTS, framework="pt") as opened:
        saved = set(opened.keys())
    misfit = f"the adapter {directory} does not fit its base {base_name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's remarks on training; what is missing is checked below
            config = LoraConfig.from_pretrained(str(directory))
            config.inference_mode = True
            model = PeftModel(base, config)
            result = model.load_adapter(str(directory), "default", torch_device=str(base.device))
    except Exception as error:  # peft raises ValueError, RuntimeError, KeyError for what does not fit
        raise CheckpointError(f"{misfit}: {' '.join(_lines(error))}") from None
    strangers, absent = sorted(result.unexpected_keys), sorted(result.missing_keys)
    if strangers:
        raise CheckpointError(
            f"{misfit}: the base has no place for {len(strangers)} of its tensors, {strangers[0]}"
        )
    if absent:
        raise CheckpointError(f"{misfit}: it lacks {len(absent)} tensors for it, {absent[0]}")
    if not saved:
        raise CheckpointError(f"{directory / ADAPTER_WEIGHTS} holds no tensors: save the adapter again")
    return model.merge_and_unload()


def _lines(error: Exception) -> Iterator[str]:
    """The heading and the first particular of an error that lists many."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    yield from lines[:2] if lines else [first_line(error)]
