"""Models larger than one device: their layers spread over several, or kept on disk until they run, by accelerate."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oneway.models.checkpoint_files import CheckpointError

# "auto", "balanced", "sequential", a device, or a device ("cpu", 0, "disk", …) for each part by its name.
DeviceMap = str | Mapping[str, str | int]


def check_device_map() -> None:
    """Raises CheckpointError where accelerate is not installed."""
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise CheckpointError(
            "device_map needs the extra `large`, which is accelerate: pip install 'oneway[large]'"
        ) from None


def is_spread(model: PreTrainedModel) -> bool:
    """Whether its weights are not all in the memory of one device."""
    return (
        len({weight.device for weight in model.parameters()} | {model.device}) > 1
        or model.device.type == "meta"
    )


def entry(model: PreTrainedModel) -> torch.device:
    """The device that a model's tokens go to and its scores come from."""
    return torch.device(model._hf_hook.execution_device) if is_spread(model) else model.device


def placed_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name, one after the other fetched from where it is kept."""
    if not is_spread(model):
        yield from model.named_parameters()
        return
    from accelerate.utils import align_module_device

    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [(key, value) for key, value in module.named_parameters(recurse=False) if id(value) not in seen]
        seen |= {id(value) for _, value in own}
        if own:
            with align_module_device(module):
                yield from ((f"{name}.{key}".removeprefix("."), getattr(module, key)) for key, _ in own)
