"""One loop that trains many seeds at once, resumes where it was killed, and ends with the same numbers."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from oneway.evidence.atomic import make_folder, write_bytes_in
from oneway.evidence.pace import SAVE_SECONDS, Pace
from oneway.models.architecture import FROZEN, Architecture
from oneway.models.lstm import LSTM
from oneway.models.transformer import Drop, Weights, residual, residual_at_end, unembed
from oneway.training.cross_entropy import cross_entropy
from oneway.training.hardware import check_matmul, flushed_denormals, kept_memory, matrix_products
from oneway.training.optimisers import Optimisation, optimisers_for

CHECKPOINT = "training.safetensors"


class Batch(NamedTuple):
    """Sentences and what is to be predicted in them.

    `positions` index the flattened (batch, pos) axis; the token after each is its target. `weights` says how
    much each counts, so that seeds with fewer targets can be padded with zeros. `drop` silences part of the
    activations in this step.
    """

    tokens: Int[Tensor, "seed batch pos"]
    positions: Int[Tensor, "seed target"]
    targets: Int[Tensor, "seed target"]
    weights: Float[Tensor, "seed target"]
    drop: Drop | None = None


Objective = Callable[[Weights, Any, Batch], Float[Tensor, " seed"]]  # of the architecture that is fitted


def next_token_loss(weights: Weights, a: Architecture, batch: Batch) -> Float[Tensor, " seed"]:
    """Weighted mean of −ln p(target) at the batch's positions, per seed, in nats."""
    resid = residual(weights, batch.tokens, a, batch.drop)
    flat = resid.reshape(resid.shape[0], -1, a.width)
    index = batch.positions.unsqueeze(-1).expand(-1, -1, a.width)
    return _cross_entropy(unembed(weights, flat.gather(1, index), a), batch)


def last_tokens_loss(weights: Weights, a: Architecture, batch: Batch) -> Float[Tensor, " seed"]:
    """`next_token_loss` where every sentence's targets are its last tokens: less is computed.

    The tokens stop before the last target; the targets are those after the last `target/batch` positions of
    each sentence.
    """
    read = batch.targets.shape[1] // batch.tokens.shape[1]
    resid = residual_at_end(weights, batch.tokens, a, read)
    return _cross_entropy(unembed(weights, resid.reshape(resid.shape[0], -1, a.width), a), batch)


def _cross_entropy(logits: Tensor, batch: Batch) -> Float[Tensor, " seed"]:
    nll = cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
    nll = nll.view_as(batch.weights)
    return (nll * batch.weights).sum(1) / batch.weights.sum(1).clamp_min(1e-12)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Trained weights, what `evaluate` returned along the way, and the steps taken in this process."""

    weights: Weights
    curves: list[dict[str, Any]]
    steps_run: int


def fit(
    weights: Weights,
    architecture: Architecture | LSTM,
    batches: Callable[[int], Batch],
    optimisation: Optimisation,
    *,
    objective: Objective = next_token_loss,
    evaluate: Callable[[Weights, int], list[dict[str, Any]]] | None = None,
    evaluate_every: int = 0,
    workspace: Path | None = None,
    save_every_seconds: float = SAVE_SECONDS,
    fingerprint: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """Train all seeds for `optimisation.steps` steps.

    `batches(step)` must depend on the step alone: then a run killed at any moment and started again takes the
    same steps. `evaluate(weights, step)` returns rows for the curves: at step 0, every `evaluate_every` steps
    and at the end. With a `workspace`, a folder whose parent is there, the state is written to it every
    `save_every_seconds` and at the end (see `Pace`); `fingerprint` names everything else that decides the
    numbers (the corpus, say).

    Raises ValueError for matrix products that the device lacks, or where the workspace holds another
    configuration's state or a damaged one, WriteError where it cannot be written or has vanished, and
    FloatingPointError where a loss is not finite.
    """
    check_matmul(optimisation.matmul, next(iter(weights.values())).device.type)
    trained = _trainable(weights, architecture)
    optimisers = optimisers_for(trained, optimisation)
    identity = json.dumps(
        {"architecture": asdict(architecture), "optimisation": asdict(optimisation), "data": fingerprint},
        sort_keys=True,
    )
    start, curves = 0, list[dict[str, Any]]()
    if workspace is not None and (make_folder(workspace) / CHECKPOINT).exists():
        start, curves = _resume(workspace / CHECKPOINT, trained, optimisers, identity)
    rates = (optimisation.learning_rate, optimisation.muon_learning_rate)

    def measure(step: int) -> None:
        if evaluate is not None:
            with torch.no_grad():
                curves.extend(evaluate(trained, step))

    if start == 0:
        measure(0)
    pace = Pace(save_every_seconds)
    with flushed_denormals(), kept_memory():
        for step in range(start, optimisation.steps):
            for optimiser, rate in zip(optimisers, rates, strict=False):
                for group in optimiser.param_groups:
                    group["lr"] = rate * optimisation.factor(step)
            with matrix_products(optimisation.matmul):
                loss = objective(trained, architecture, batches(step))
                loss.sum().backward()
            if optimisation.clip:
                clip(trained, optimisation.clip)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            done = step + 1
            if done % 50 == 0 and not torch.isfinite(loss).all():
                raise FloatingPointError(
                    f"the loss is not finite at step {done}: {loss.tolist()}; lower the rate"
                )
            if done == optimisation.steps or (evaluate_every and done % evaluate_every == 0):
                measure(done)
            if workspace is not None and (done == optimisation.steps or pace.due):
                with pace.saving():
                    write_bytes_in(workspace, CHECKPOINT, _state(trained, optimisers, done, curves, identity))
            progress(done, optimisation.steps)
    return Fitted({n: w.detach() for n, w in trained.items()}, curves, optimisation.steps - start)


def _trainable(weights: Weights, a: Architecture | LSTM) -> Weights:
    frozen = FROZEN[a.embeddings]
    return {n: w.detach().clone().requires_grad_(n not in frozen) for n, w in weights.items()}


def clip(weights: Weights, largest: float) -> None:
    """Scale each seed's gradient down to a norm of at most `largest`; seeds do not touch one another."""
    grads = [w.grad for w in weights.values() if w.grad is not None]
    norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale = (largest / norms.clamp_min(1e-12)).clamp_max(1.0)
    for grad in grads:
        grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))


def _state(
    weights: Weights,
    optimisers: list[torch.optim.Optimizer],
    step: int,
    curves: list[dict[str, Any]],
    identity: str,
) -> bytes:
    tensors = {f"weights/{name}": weight.detach() for name, weight in weights.items()}
    for number, optimiser in enumerate(optimisers):
        for index, slots in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{index}/{slot}": value for slot, value in slots.items()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    metadata = {"step": str(step), "curves": json.dumps(curves), "identity": identity}
    return save(tensors, metadata | {"sha256": _digest(tensors, metadata)})


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """What shows that a disk gave back what it was given: the format itself checks sizes only."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _resume(
    path: Path, weights: Weights, optimisers: list[torch.optim.Optimizer], identity: str
) -> tuple[int, list[dict[str, Any]]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it to train from the start") from error
    if metadata.pop("sha256", "") != _digest(tensors, metadata):
        raise ValueError(f"{path} is damaged, its hash is another: delete it to train from the start")
    if metadata.get("identity") != identity:
        raise ValueError(
            f"{path} belongs to another configuration: "
            "give another output directory, or delete it to start anew"
        )
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weights/{name}"])
    for number, optimiser in enumerate(optimisers):
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(f"optimiser/{number}/"):
                _, _, index, slot = name.split("/")
                slots.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(metadata["step"]), json.loads(metadata["curves"])
