"""Intervals against values worked out by hand and against exact distributions."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from oneway.evidence import Estimate, mcnemar, over_facts, over_pairs, over_seeds

Z2 = 3.8414588206941227  # the square of the normal's 97.5% point


def test_t_interval_of_three_runs_by_hand() -> None:
    found = over_seeds([1.0, 2.0, 3.0], "nats")
    half = 4.302652729696142 / math.sqrt(3)  # s = 1, t(0.975, 2) = 4.3027
    assert (found.mean, found.n, found.unit) == (2.0, 3, "nats")
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)


@pytest.mark.parametrize("of", [over_seeds, over_facts])
@pytest.mark.parametrize("values", [[], [0.7], [1.0, math.nan], [1.0, -math.inf], [math.inf, -math.inf]])
def test_too_little_or_undefined_gives_an_infinite_interval(of, values) -> None:
    found = of(values)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.n == len(values)
    assert not found.defined


@pytest.mark.parametrize(
    ("value", "low", "high"), [(1.0, 300 / (300 + Z2), 1.0), (0.0, 0.0, Z2 / (300 + Z2))]
)
def test_unanimous_facts_get_wilsons_interval(value, low, high) -> None:
    """For n of n, Wilson's lower bound is n / (n + z²); for none of n, the upper one is z² / (n + z²)."""
    found = over_facts([value] * 300, "probability")
    assert found.mean == value
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)


@pytest.mark.parametrize("successes", [5, 50, 93])
def test_bootstrap_of_a_proportion_has_the_binomial_quantiles(successes) -> None:
    """The mean of a resample of 0/1 data is exactly binomial(n, p) / n."""
    values = [1.0] * successes + [0.0] * (100 - successes)
    found = over_facts(values, resamples=20_000)
    exact = stats.binom.ppf([0.025, 0.975], 100, successes / 100) / 100
    assert found.mean == pytest.approx(successes / 100)
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=0.0101)  # one fact


def test_counting_distinct_values_and_drawing_them_give_the_same_interval() -> None:
    few = np.repeat(np.linspace(-3, 0, 60), 10)  # 60 distinct values: counted
    many = few + np.linspace(0, 1e-9, few.size)  # the same numbers, all distinct: drawn
    a, b = over_facts(few), over_facts(many)
    width = a.high - a.low
    standard_error = few.std() / math.sqrt(few.size)
    assert width == pytest.approx(2 * 1.96 * standard_error, rel=0.05)
    assert (b.low, b.high) == pytest.approx((a.low, a.high), abs=0.06 * width)


def test_an_interval_is_the_same_on_every_call() -> None:
    values = np.random.default_rng(3).normal(size=97)
    assert over_facts(values) == over_facts(values)


@given(st.lists(st.floats(-100, 0), min_size=2, max_size=40))
def test_bootstrap_interval_stays_within_the_data(values) -> None:
    found = over_facts(values, resamples=100)
    assert found.low <= found.high
    if set(values) != {0.0}:
        assert min(values) - 1e-9 <= found.low
        assert found.high <= max(values) + 1e-9


@pytest.mark.parametrize("estimate", [over_seeds([0.1, 0.4]), over_seeds([0.5]), over_seeds([])])
def test_an_estimate_survives_strict_json(estimate) -> None:
    text = json.dumps(estimate.to_dict(), allow_nan=False)
    back = Estimate.from_dict(json.loads(text))
    assert repr(back) == repr(estimate)  # NaN is not equal to itself


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ValueError, match="median"):
        Estimate.from_dict({"mean": 1.0, "low": 0.0, "high": 2.0, "n": 3, "unit": "", "median": 1.0})


def test_text_carries_interval_unit_and_sample_size() -> None:
    assert str(Estimate(0.5, 0.25, 0.75, 8, "nats")) == "0.5 [0.25, 0.75] nats (n=8)"


def test_a_paired_difference_is_that_of_the_differences() -> None:
    before, after = [0.0, 1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0, 1.0]
    assert over_pairs(before, after, "probability") == over_facts([1.0, 0.0, 0.0, -1.0, 1.0], "probability")
    with pytest.raises(ValueError, match="not pairs"):
        over_pairs([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [
        (0.0, 0.0, -Z2 / (300 + Z2), Z2 / (300 + Z2)),
        (1.0, 1.0, -Z2 / (300 + Z2), Z2 / (300 + Z2)),
        (0.0, 1.0, 300 / (300 + Z2), 1.0),
        (1.0, 0.0, -1.0, -300 / (300 + Z2)),
    ],
)
def test_a_difference_that_all_facts_share_is_no_certainty(before, after, low, high) -> None:
    found = over_pairs([before] * 300, [after] * 300, "probability")
    assert (found.mean, found.n) == (after - before, 300)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_equal_differences_in_nats_are_equal() -> None:
    found = over_pairs([1.0, 2.0], [1.0, 2.0], "nats")
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not over_pairs([1.0], [2.0], "nats").defined


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 4) == mcnemar(4, 1) == pytest.approx(2 * (1 + 5) / 2**5)
