"""From a checkpoint to an opened model that has proved itself."""

from typing import Literal

import torch
from transformers import PreTrainedModel

from oneway.engine.engine import Engine
from oneway.engine.hooked import Hooked
from oneway.engine.opened import Opened
from oneway.engine.own_code import OwnCode
from oneway.engine.prefix import Reader
from oneway.engine.prepared import Prepared
from oneway.engine.product import passing_product
from oneway.engine.proof import Proof, prove
from oneway.models.checkpoint import Checkpoint, Loading, Source, load_checkpoint
from oneway.models.families import UnknownFamily, read_decoder
from oneway.models.placement import DeviceMap

Precision = Literal["float32", "float64"]


def open_model(
    source: Source,
    *,
    device: str = "auto",
    precision: Precision = "float32",
    device_map: DeviceMap | None = None,
) -> Opened:
    """Open a checkpoint: a directory, a hub name, or a (model, tokenizer) pair, which is left as it is.

    Its weights are computed with in float32, whatever they are stored in (bfloat16 destroys the effects of single
    neurons), or in float64. A known family becomes an `Engine`; any other architecture is run by its own code with
    hooks, `Hooked`, and says in `cannot` what that does not do. Either is proved first, see `prove_model`.

    `device_map`, for a model that outgrows one device, says where accelerate keeps its parts, see `Loading`. Where they
    are then on several devices, or on disk, the model is run by its own code with hooks, whatever its family.

    Raises CheckpointError where the checkpoint does not load, NotProven where the proof fails, and UnknownFamily
    where there is nothing to put hooks on.
    """
    opened, proof = prove_model(source, device=device, precision=precision, device_map=device_map)
    proof.check()
    return opened


def prove_model(
    source: Source,
    *,
    device: str = "auto",
    precision: Precision = "float32",
    device_map: DeviceMap | None = None,
) -> tuple[Opened, Proof]:
    """An opened model, and what it showed on a few tokens: logits equal to the plain model's, the shape of every
    site, and that editing every site at every layer changes the logits."""
    checkpoint = load_checkpoint(source, Loading(device=device, dtype="float32", device_map=device_map))
    opened = opened_checkpoint(checkpoint, precision)
    return opened, prove(opened, checkpoint.model)


def opened_checkpoint(checkpoint: Checkpoint, precision: Precision = "float32") -> Opened:
    """A loaded checkpoint opened, not proved."""
    try:
        form, weights = read_decoder(checkpoint.model, getattr(torch, precision))
    except UnknownFamily as unknown:
        if precision == "float64":
            raise UnknownFamily(
                f"{unknown}; its own code computes parts in float32, so float64 is not offered"
            ) from None
        return Hooked(checkpoint.model, checkpoint.tokenizer, checkpoint.name, str(unknown))
    return Engine(Prepared(form, weights), checkpoint.tokenizer, checkpoint.name)


def reader_of(model: PreTrainedModel) -> tuple[Reader, str]:
    """A model read on in its own number format: by the engine where it knows the family, else by its own code, and
    why. Not proved."""
    try:
        # No matrix is copied into a faster layout: that would take the memory of the model again, for 7% of the time.
        return Engine(Prepared(*read_decoder(model), passing_product)), ""
    except UnknownFamily as unknown:
        return OwnCode(model), str(unknown)
