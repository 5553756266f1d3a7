"""AdamW and Muon over stacked weights, and the learning rate as a function of the step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.training.hardware import Matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """How a model is trained.

    `matrices`: which optimiser moves the matrices inside the blocks; embeddings, norms, biases and the
    unembedding always take AdamW. `schedule`: the factor on every learning rate, after a linear warm-up over
    the first `warm_up` share of the steps. `clip`: largest gradient norm per seed (0: none).
    `query_key_share`: factor on Muon's step for queries and keys, whose logits grow with both.
    `matmul`: the precision to which a CPU rounds the factors of matrix products in a step; weights and
    what is measured stay float32.
    """

    steps: int
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    matrices: Literal["adamw", "muon"] = "adamw"
    muon_learning_rate: float = 0.04
    muon_weight_decay: float = 0.1
    query_key_share: float = 0.2
    schedule: Literal["constant", "linear"] = "constant"
    warm_up: float = 0.0
    clip: float = 0.0
    matmul: Matmul = "float32"

    def factor(self, step: int) -> float:
        """The share of the full learning rate at a step (0-based), in (0, 1]."""
        warm = self.warm_up * self.steps
        rising = min(1.0, (step + 1) / warm) if warm else 1.0
        falling = (self.steps - step) / max(1.0, self.steps - warm) if self.schedule == "linear" else 1.0
        return min(rising, falling, 1.0)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: each matrix moves by the nearest semi-orthogonal matrix of its momentum.

    M ← μM + G;  W ← (1 − ηλ)W − η·√max(1, rows/columns)·share·orth(G + μM), orth by five Newton–Schulz steps.
    A parameter is [seed … rows columns]; `parts` cuts its columns into that many matrices (queries, keys,
    values), the first two scaled by `query_key_share`. Equal shapes are orthogonalised together.

    Source: Jordan et al. 2024 (Muon). Deviation: batched over seeds, layers and parts.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], lr: float, momentum: float = 0.95):
        super().__init__([dict(group) for group in groups], {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor, dict[str, Any]]]] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                update = parameter.grad.add(momentum, alpha=group["momentum"])
                matrices = _cut(update, group["parts"])
                by_shape.setdefault(matrices.shape[-2:], []).append((parameter, matrices, group))  # type: ignore[arg-type]
        for shape, entries in by_shape.items():
            flat = torch.cat([matrices.reshape(-1, *shape) for _, matrices, _ in entries])
            moved = orthogonalised(flat).split([matrices[..., 0, 0].numel() for _, matrices, _ in entries])
            for (parameter, matrices, group), update in zip(entries, moved, strict=True):
                update = update.view_as(matrices)
                if group["parts"] > 1:
                    update[..., :2, :, :] *= group["query_key_share"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                parameter.sub_(_joined(update, group["parts"]), alpha=scale)


def _cut(matrix: Tensor, parts: int) -> Tensor:
    """[… rows parts·columns] → [… part rows columns] (unchanged for one part)."""
    if parts == 1:
        return matrix
    return matrix.unflatten(-1, (parts, -1)).movedim(-2, -3)


def _joined(matrices: Tensor, parts: int) -> Tensor:
    """The inverse of `_cut`."""
    return matrices if parts == 1 else matrices.movedim(-3, -2).flatten(-2)


def orthogonalised(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Approximately U Vᵀ of each matrix U S Vᵀ: singular values pushed towards 1.

    Five steps X ← aX + (bA + cA²)X with A = XXᵀ, (a, b, c) = (3.4445, −4.7750, 2.0315); singular values end
    within about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-2, -1) if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    for _ in range(5):
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(-2, -1) if tall else x


def optimisers_for(weights: Mapping[str, Tensor], o: Optimisation) -> list[torch.optim.Optimizer]:
    """The optimisers that move these weights; weights that need no gradient (frozen) are left alone.

    AdamW decays every weight, as Zhu et al. do through PyTorch's default; Muon decays its matrices.
    """
    trained = {name: weight for name, weight in weights.items() if weight.requires_grad}
    muon = {n for n in trained if n.startswith("blocks.") and ".W_" in n} if o.matrices == "muon" else set()
    rest = [weight for name, weight in trained.items() if name not in muon]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=o.learning_rate, betas=o.betas, weight_decay=o.weight_decay, fused=True)
    ]
    if muon:
        parts = {"W_QKV": 3, "W_QK": 2}
        groups = [
            {
                "params": [trained[name]],
                "parts": parts.get(name.rsplit(".", 1)[1], 1),
                "query_key_share": o.query_key_share,
                "weight_decay": o.muon_weight_decay,
            }
            for name in sorted(muon)
        ]
        optimisers.append(Muon(groups, lr=o.muon_learning_rate))
    return optimisers
