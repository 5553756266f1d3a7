"""Dropout that a killed run repeats: what is silenced depends on seed and step alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Dropout:
    """Sets each activation to 0 with probability `rate`, and divides the others by 1 − rate.

    Called on tensors whose first axis begins with the seeds; each seed draws from its own generator, so a
    seed's model does not depend on the seeds beside it. One object serves one step: its calls draw on.
    """

    def __init__(self, rate: float, seeds: Sequence[int], step: int, device: str = "cpu") -> None:
        """Raises ValueError for a rate outside of [0, 1)."""
        if not 0 <= rate < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {rate}")
        self.rate, self.generators = (
            rate,
            [
                torch.Generator(device).manual_seed(
                    int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
                )
                for seed in seeds
            ],
        )

    def __call__(self, x: Tensor) -> Tensor:
        kept = torch.empty(len(self.generators), x.numel() // len(self.generators), device=x.device)
        for row, generator in zip(kept, self.generators, strict=True):
            row.bernoulli_(1 - self.rate, generator=generator)
        return x * kept.mul_(1 / (1 - self.rate)).view_as(x)
