"""Many cosines in little memory: counts in bins, from which medians and all other quantiles are read."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

BINS = 400  # of 0.005 from -1 to 1


@dataclass(slots=True, eq=False)
class Spread:
    """Counts of cosines by layer, comparison, class and bin; and the sums of cosines and of their squares."""

    counts: Int[np.ndarray, "layer comparison class bin"]
    sums: Float[np.ndarray, "power layer comparison class"]

    @classmethod
    def empty(cls, layers: int, comparisons: int, classes: int) -> "Spread":
        shape = (layers, comparisons, classes)
        return cls(np.zeros((*shape, BINS), np.int64), np.zeros((2, *shape)))

    def add(
        self, cosines: Float[Tensor, "layer comparison token"], classes: Int[np.ndarray, " token"]
    ) -> None:
        """Count cosines of tokens of these classes. NaN, what could not be compared, is left out."""
        values = cosines.double().cpu().numpy()
        for number in np.unique(classes).tolist():
            own = values[..., classes == number]
            for power in (1, 2):
                self.sums[power - 1, :, :, number] += np.nansum(own**power, axis=-1)
            bins = np.clip((np.nan_to_num(own, nan=-9) + 1) * (BINS / 2), -1, BINS - 1).astype(np.int64)
            rows = np.arange(bins.shape[0] * bins.shape[1])[:, None]
            flat = rows * (BINS + 1) + bins.reshape(len(rows), -1) + 1  # bin 0 of each row: NaN
            counted = np.bincount(flat.ravel(), minlength=len(rows) * (BINS + 1))
            self.counts[:, :, number] += counted.reshape(*bins.shape[:2], BINS + 1)[..., 1:]

    def of(self, classes: list[int]) -> "Spread":
        """Some of the classes, taken together as one."""
        return Spread(
            self.counts[:, :, classes].sum(2, keepdims=True), self.sums[..., classes].sum(-1, keepdims=True)
        )

    @property
    def size(self) -> Int[np.ndarray, "layer comparison class"]:
        """How many cosines were counted."""
        return self.counts.sum(-1)

    def mean(self, power: int = 1) -> Float[np.ndarray, "layer comparison class"]:
        """The mean of the cosines (power 1) or of their squares (2), NaN where there are none; not binned."""
        with np.errstate(invalid="ignore"):
            return self.sums[power - 1] / self.size

    def quantile(self, share: float) -> Float[np.ndarray, "layer comparison class"]:
        """The quantile of the cosines, to within a bin; NaN where there are none."""
        return _quantile(self.counts, share, -1.0)

    def median_square(self) -> Float[np.ndarray, "layer comparison class"]:
        """The median of the squared cosines: the square of the median of |cosine|."""
        negative, positive = self.counts[..., : BINS // 2], self.counts[..., BINS // 2 :]
        return _quantile(negative[..., ::-1] + positive, 0.5, 0.0) ** 2


def _quantile(counts: Int[np.ndarray, "*n bin"], share: float, lowest: float) -> Float[np.ndarray, "*n"]:
    """Where this share of the counts lies below, spread evenly over each bin; bins are 2 / BINS wide."""
    below = counts.cumsum(-1)
    total = below[..., -1:]
    at = (below >= np.maximum(share * total, 1e-9)).argmax(-1)[..., None]
    own = np.take_along_axis(counts, at, -1)
    before = np.take_along_axis(below, at, -1) - own
    with np.errstate(invalid="ignore"):
        inside = (share * total - before) / own
    found: np.ndarray = np.where(total > 0, lowest + (at + inside) * (2 / BINS), np.nan)[..., 0]
    return found
