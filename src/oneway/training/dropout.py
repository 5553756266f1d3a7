"""Dropout that a killed run repeats: what is silenced depends on seed and step alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STEPS = 2**16  # a rate is rounded to a multiple of 1/STEPS: 16 random bits decide over an activation
AT_ONCE = 2**13  # activations of a seed that are drawn for together, or more where a tensor has more


class Dropout:
    """Sets each activation to 0 with probability `rate`, and divides the others by 1 − rate.

    Called on tensors whose first axis begins with the seeds; each seed draws from its own generator, so a
    seed's model does not depend on the seeds beside it. One object serves one step: its calls draw on.
    """

    def __init__(self, rate: float, seeds: Sequence[int], step: int, device: str = "cpu") -> None:
        """Raises ValueError for a rate outside of [0, 1)."""
        if not 0 <= rate < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {rate}")
        silenced = min(round(rate * STEPS), STEPS - 1)
        self.lowest_kept, self.scale = silenced - STEPS // 2, STEPS / (STEPS - silenced)
        self.generators = [
            torch.Generator(device).manual_seed(
                int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
            )
            for seed in seeds
        ]
        self.factors, self.used = torch.empty(len(seeds), 0), 0

    def __call__(self, x: Tensor) -> Tensor:
        each = x.numel() // len(self.generators)
        if self.used + each > self.factors.shape[1]:
            self.factors, self.used = self._drawn(max(each, AT_ONCE), x), 0
        self.used += each
        factors = self.factors[:, self.used - each : self.used]
        return (x.reshape(factors.shape) * factors).view(x.shape)

    def _drawn(self, each: int, like: Tensor) -> Tensor:
        """What to multiply `each` activations of every seed by."""
        # Four activations to a random number of 64 bits: drawing is most of what dropout costs.
        drawn = torch.empty(len(self.generators), -(-each // 4), dtype=torch.int64, device=like.device)
        for row, generator in zip(drawn, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        factors = torch.empty(len(self.generators), 4 * drawn.shape[1], dtype=like.dtype, device=like.device)
        return torch.ge(drawn.view(torch.int16), self.lowest_kept, out=factors).mul_(self.scale)
