"""Values per fact into tables: a mean over facts with its interval for every component."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from oneway.evidence.estimate import Estimate


def interval_table(
    values: Float[Tensor, "*axes fact"], axes: Sequence[str], value: str = "mean"
) -> pl.DataFrame:
    """One row for every entry of the leading axes, named by its indices: the mean over facts and its 95% interval.

    mean ± t(0.975, n − 1) · s / √n. Of one fact the interval is infinite.
    """
    array = values.detach().double().cpu().numpy()
    n = array.shape[-1]
    mean = array.mean(-1)
    half = (
        stats.t.ppf(0.975, n - 1) * array.std(-1, ddof=1) / math.sqrt(n)
        if n > 1
        else np.full_like(mean, np.inf)
    )
    index = np.indices(mean.shape).reshape(len(axes), -1)
    columns = {axis: index[i] for i, axis in enumerate(axes)}
    return pl.DataFrame(
        columns | {value: mean.ravel(), "low": (mean - half).ravel(), "high": (mean + half).ravel(), "n": n}
    )


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two effects of the same components; NaN where one of them is constant."""
    a, b = (x.detach().double().flatten().cpu().numpy() for x in (one, other))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(stats.spearmanr(a, b).statistic)


def other_answers(right: Tensor, *, alike: Tensor | None = None, seed: int = 0) -> list[int]:
    """For every question another one, drawn among those whose right answer is another.

    What a resample ablation takes its values from. With `alike`, a number for each question, both have the same one.
    Raises ValueError where all answers are the same.
    """
    rng = np.random.default_rng(seed)
    answers = right.cpu().numpy()
    groups = np.zeros_like(answers) if alike is None else alike.cpu().numpy()
    found = np.empty(len(answers), dtype=np.int64)
    for group, answer in np.unique(np.stack((groups, answers)), axis=1).T:
        others = np.flatnonzero((groups == group) & (answers != answer))
        if not len(others):
            raise ValueError("all questions have the same answer: there is no other to put in its place")
        own = np.flatnonzero((groups == group) & (answers == answer))
        found[own] = rng.choice(others, size=len(own))
    return torch.from_numpy(found).tolist()


def resampled(
    statistic: Callable[[Int[np.ndarray, " fact"]], float],
    facts: int,
    unit: str,
    *,
    resamples: int = 300,
    seed: int = 0,
) -> Estimate:
    """A statistic of all facts with its percentile bootstrap interval: facts are drawn with replacement.

    `statistic` is told which facts it is of. Resamples in which it is NaN (no fact of a kind was drawn) are left out;
    where it is NaN of all facts, or there are fewer than two, the interval is infinite.
    """
    mean = statistic(np.arange(facts))
    if facts < 2 or not math.isfinite(mean):
        return Estimate(mean, -math.inf, math.inf, facts, unit)
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(facts, size=facts)) for _ in range(resamples)])
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
    return Estimate(mean, float(low), float(high), facts, unit)
