"""A measured number never travels without its interval, its sample size and its unit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval, the number of independent observations behind it, and its unit."""

    mean: float
    low: float
    high: float
    n: int
    unit: str

    @property
    def defined(self) -> bool:
        """True where the interval is finite: at least two observations, none of them NaN."""
        return all(math.isfinite(x) for x in (self.mean, self.low, self.high))

    def to_dict(self) -> dict[str, float | int | str | None]:
        """JSON has no infinity: an undefined bound is null."""
        return {
            k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Estimate":
        """The inverse of `to_dict`: a null mean is NaN, null bounds are infinite.

        Raises ValueError where a field is missing or unknown.
        """
        absent: dict[str, Any] = {"mean": math.nan, "low": -math.inf, "high": math.inf}
        try:
            return cls(**{k: absent[k] if v is None and k in absent else v for k, v in fields.items()})
        except TypeError as error:
            raise ValueError(f"not an estimate: {error}") from error

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]{unit} (n={self.n})"


def over_seeds(values: Sequence[float] | np.ndarray, unit: str = "") -> Estimate:
    """Mean over independent runs with Student's t interval: mean ± t(0.975, n−1) · s / √n.

    Fewer than two runs, or a NaN among them, give an infinite interval: one seed says nothing of the spread.
    """
    from scipy import stats

    x, n, mean = _observations(values)
    if n < 2 or not np.isfinite(x).all():
        return Estimate(mean, -math.inf, math.inf, n, unit)
    half = float(stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n, unit)


def over_facts(
    values: Sequence[float] | np.ndarray, unit: str = "", *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Mean over facts with a percentile bootstrap interval (facts are drawn with replacement).

    Where every fact is alike and all values are 0 or 1 the bootstrap has no width; Wilson's score interval
    stands in for it, so that 300 of 300 is not reported as certainty. Fewer than two facts give an infinite
    interval.
    """
    x, n, mean = _observations(values)
    if n < 2 or not np.isfinite(x).all():
        return Estimate(mean, -math.inf, math.inf, n, unit)
    if np.ptp(x) == 0 and x[0] in (0.0, 1.0):
        low, high = _wilson(int(x.sum()), n)
        return Estimate(mean, low, high, n, unit)
    low, high = np.quantile(_bootstrap_means(x, resamples, seed), [0.025, 0.975])
    return Estimate(mean, float(low), float(high), n, unit)


def over_pairs(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    unit: str = "",
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean difference, after less before, of the same facts, with a percentile bootstrap interval.

    Of shares (unit "probability") a difference of −1, 0 or 1 that all facts have gets Wilson's score interval:
    100 facts of which none changed do not show that none ever would. Raises ValueError where the lengths differ.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values before and {second.size} after are not pairs")
    with np.errstate(invalid="ignore"):
        difference = second - first
    same = difference.size > 1 and np.isfinite(difference).all() and np.ptp(difference) == 0
    if same and (unit != "probability" or abs(difference[0]) not in (0.0, 1.0)):
        value = float(difference[0])
        return Estimate(value, value, value, difference.size, unit)
    if not same:
        return over_facts(difference, unit, resamples=resamples, seed=seed)
    sign, (low, high) = difference[0], _wilson(int(abs(difference.sum())), difference.size)
    low, high = (-high, high) if sign == 0 else (low, high) if sign > 0 else (-high, -low)
    return Estimate(float(sign), low, high, difference.size, unit)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact McNemar test of paired yes-or-no outcomes, two-sided.

    Of b pairs where only the first holds and c where only the second does, b is Binomial(b + c, 1/2) where
    there is no difference between them; 1 where b + c = 0.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _observations(values: Sequence[float] | np.ndarray) -> tuple[np.ndarray, int, float]:
    x = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean: NaN, as the interval says
        return x, x.size, float(x.mean()) if x.size else math.nan


def _bootstrap_means(x: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of resamples; few distinct values are counted, not drawn: exact, and small for 0/1 data."""
    rng = np.random.default_rng(seed)
    values, counts = np.unique(x, return_counts=True)
    if values.size <= 64:
        return rng.multinomial(x.size, counts / x.size, size=resamples) @ values / x.size
    return np.array([x[rng.integers(x.size, size=x.size)].mean() for _ in range(resamples)])


def _wilson(successes: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    p, centre = successes / n, (successes + z * z / 2) / (n + z * z)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The exact ends: an interval for 0 of n starts at 0 and one for n of n ends at 1.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
