"""The flow against plain gradient descent on Θ by autograd, and every branch of the verdicts."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.studies.bilinear import ARMS, CLAIMS, STUDY, Config, Flow, _Flow, experiment, levels, measure

SMALL = Flow(pairs=5, dimensions=(6, 24), sigma=0.1, stop=0.3, step=0.5)


def by_autograd(flow: Flow, dimension: int, arm: str, seed: int, steps: int) -> tuple[float, float, float]:
    """Forward loss, reverse loss and cos of their gradients after some steps on Θ itself."""
    generator = torch.Generator().manual_seed(1_000_003 * dimension + seed)
    n = flow.pairs
    vectors = torch.randn((2 * n, dimension), generator=generator, dtype=torch.float64) / math.sqrt(dimension)
    theta = flow.sigma * torch.randn((dimension, dimension), generator=generator, dtype=torch.float64)
    theta.requires_grad_()
    x, y = vectors[:n], vectors[n:]

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        forward = -(x @ theta @ y.T).log_softmax(-1).diagonal()
        reverse = -(y @ theta @ x.T).log_softmax(-1).diagonal()
        return forward, reverse

    for _ in range(steps):
        forward, reverse = losses()
        trained = torch.cat((forward, reverse if arm == "both ways" else reverse[1:]))
        (gradient,) = torch.autograd.grad(trained.mean(), theta)
        with torch.no_grad():
            theta -= flow.step * gradient
    forward, reverse = losses()
    (one,) = torch.autograd.grad(forward[0], theta, retain_graph=True)
    (other,) = torch.autograd.grad(reverse[0], theta)
    cosine = (one * other).sum() / (one.norm() * other.norm())
    return float(forward[0].detach()), float(reverse[0].detach()), float(cosine)


@pytest.mark.parametrize("arm", ARMS)
def test_the_flow_is_gradient_descent_on_theta(arm: str) -> None:
    rows = pl.DataFrame(list(_Flow(SMALL, 6, arm, (3, 4)).rows()))
    for (seed, step), read in rows.group_by("seed", "step"):
        forward, reverse, cosine = by_autograd(SMALL, 6, arm, seed, round(step / SMALL.step))
        found = dict(zip(read["quantity"], read["value"], strict=True))
        assert found["reverse_loss"] == pytest.approx(reverse, rel=1e-9)
        assert found["overlap"] == pytest.approx(cosine, abs=1e-9)
        assert found["reverse_excess"] == pytest.approx(reverse - math.log(5), rel=1e-9)
        # The step is the first at or below the level, so the loss lies there and, one step earlier, above.
        assert forward <= read["forward_loss"].min() + 1e-12
        if step > SMALL.step:
            assert (
                by_autograd(SMALL, 6, arm, seed, round(step / SMALL.step) - 1)[0] > read["forward_loss"].max()
            )
        began = by_autograd(SMALL, 6, arm, seed, 0)
        epsilon = math.log(reverse / began[1]) / math.log(forward / began[0])
        assert found["epsilon"] == pytest.approx(epsilon, rel=1e-6)


def test_a_seed_does_not_depend_on_those_beside_it_nor_on_an_interruption(tmp_path) -> None:
    config = Config(flow=SMALL, seeds=(0, 1, 2))
    together = experiment(config, (0, 1, 2), tmp_path)
    alone = experiment(config, (1,), None)
    keys = ["seed", "step", "arm", "dimension", "forward_loss", "quantity"]
    joined = together.filter(pl.col("seed") == 1).join(alone, on=keys, suffix="_alone")
    assert joined.height == alone.height == 2 * 2 * len(levels(SMALL)) * 4
    assert (joined["value"] - joined["value_alone"]).abs().max() < 1e-12
    for kept in list(tmp_path.iterdir())[:2]:
        kept.unlink()
    assert experiment(config, (0, 1, 2), tmp_path).equals(together)


def test_a_seed_that_never_arrives_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"2 seeds did not reach 0\.3 nats in 3 steps"):
        experiment(Config(flow=Flow(pairs=5, dimensions=(6,), stop=0.3, step=1e-6, longest=3)), (0, 1), None)


def test_halving_the_step_changes_little() -> None:
    ends = []
    for step in (2.0, 1.0):
        flow = Flow(pairs=20, dimensions=(64,), step=step)
        curves = experiment(Config(flow=flow), range(4), None)
        end = curves.filter((pl.col("forward_loss") == flow.stop) & (pl.col("quantity") == "reverse_loss"))
        ends.append(end.sort("arm", "seed")["value"].to_numpy())
    assert np.abs(ends[0] - ends[1]).max() < 0.01


def test_the_reverse_loss_of_the_reference_values() -> None:
    """Mean ± standard error of 60 seeds, measured by an independent implementation before this one."""
    reference = {64: (3.36, 0.06), 256: (3.057, 0.020), 512: (3.020, 0.011)}
    flow = Flow(dimensions=tuple(reference))
    measured = measure(experiment(Config(flow=flow), range(60), None))
    for width, (mean, error) in reference.items():
        found = measured[f"reverse_loss_d{width}"]
        own_error = (found.high - found.mean) / 2.0010  # t(0.975, 59)
        assert abs(found.mean - mean) < 3 * math.hypot(error, own_error)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 60, "")


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, ("reproduced",) * 4),
        ({"both_ways_reverse_loss": 3.0}, ("inconclusive",) * 3 + ("reproduced",)),
        ({"share_within_epsilon": 0.5}, ("contradicted", "reproduced", "reproduced", "reproduced")),
        ({"share_above_half_chance": 0.5}, ("reproduced", "contradicted", "reproduced", "reproduced")),
        ({"excess_widest": 0.2}, ("reproduced", "reproduced", "contradicted", "reproduced")),
        ({"excess_widest": 0.1}, ("reproduced", "reproduced", "inconclusive", "reproduced")),
        ({"excess_narrowest": -0.2}, ("reproduced", "reproduced", "contradicted", "reproduced")),
        ({"overlap_slope": -0.1}, ("reproduced",) * 3 + ("contradicted",)),
        ({"overlap_narrowest": 0.0}, ("reproduced",) * 3 + ("inconclusive",)),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change: dict[str, float], verdicts: tuple[str, ...]) -> None:
    means = {
        "both_ways_reverse_loss": 0.05,
        "share_within_epsilon": 0.99,
        "largest_epsilon": 0.01,
        "share_above_half_chance": 0.99,
        "reverse_loss_widest": 3.0,
        "excess_widest": 0.02,
        "excess_narrowest": 4.0,
        "overlap_slope": -1.0,
        "overlap_narrowest": 0.05,
        "overlap_widest": 0.002,
    } | change
    measured = {name: around(mean) for name, mean in means.items()}
    assert tuple(claim.judge(measured).verdict for claim in CLAIMS) == tuple(map(Verdict, verdicts))


def test_a_picture_and_finite_estimates_come_of_a_small_run() -> None:
    curves = STUDY.experiment(Config(flow=SMALL), (0, 1, 2), None)
    measured = STUDY.measure(curves)
    assert all(estimate.defined for estimate in measured.values())
    assert len(STUDY.figure(measured, curves).axes) == 3
