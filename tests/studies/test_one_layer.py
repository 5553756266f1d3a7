"""The two layers against autograd and plain loops, and every branch of the verdicts."""

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.chains import Chains
from oneway.studies.one_layer import (
    CLAIMS,
    STUDY,
    TASKS,
    Config,
    Ordinary,
    OrdinaryLayer,
    Reparametrised,
    ReparametrisedLayer,
    measure,
    read,
    vocabulary_of,
    worlds_of,
)

SMALL = Config(
    entities=6,
    reparametrised=Reparametrised(epochs=3),
    narrow=Ordinary(width=8, learning_rate=0.01, epochs=3),
    wide=Ordinary(width=16, learning_rate=0.01, epochs=3),
    evaluations=3,
    seeds=(0, 1, 2),
)


def stacked(task: str) -> tuple[list, np.ndarray, int]:
    worlds = worlds_of(task, 6, (3, 4))
    return worlds, np.stack([world.train for world in worlds]), vocabulary_of(worlds[0])


@pytest.mark.parametrize("task", TASKS)
def test_steps_of_the_reparametrised_layer_are_those_of_autograd(task: str) -> None:
    """One epoch by hand in float64 against autograd on p = softmax(Yᵀ LN(Xᵀ b)), seed by seed."""
    _, sentences, m = stacked(task)
    config = Reparametrised(rate_y=2.0, rate_z=0.5)
    layer = ReparametrisedLayer(config, sentences, m, (3, 4))
    layer.epoch()
    for place, seed in enumerate((3, 4)):
        y, z = (torch.zeros(m, m, dtype=torch.float64, requires_grad=True) for _ in range(2))
        for at in np.random.default_rng((seed, 7)).permutation(sentences.shape[1]):
            tokens = torch.from_numpy(sentences[place, at])
            x = torch.nn.functional.one_hot(tokens[:2], m).double()
            b = (x @ z.T @ x[1]).softmax(-1)
            mixed = x.T @ b
            loss = -(y.T @ (mixed / mixed.norm())).log_softmax(-1)[tokens[2]]
            dy, dz = torch.autograd.grad(loss, (y, z))
            with torch.no_grad():
                y -= config.rate_y * dy
                z -= config.rate_z * dz
        assert np.abs(layer.y[place] - y.detach().numpy()).max() < 1e-10
        assert np.abs(layer.z[place] - z.detach().numpy()).max() < 1e-10
        assert np.abs(layer.z[place]).max() > 1e-4


def test_the_ordinary_layer_is_the_formula_and_its_seeds_are_apart() -> None:
    _, sentences, m = stacked("chain")
    config = Ordinary(width=8, learning_rate=0.01, epochs=1)
    layer = OrdinaryLayer(config, sentences, m, (3, 4))
    alone = OrdinaryLayer(config, sentences[1:], m, (4,))
    for each in (layer, alone):
        each.epoch()
    found = layer.probabilities(sentences)
    assert np.allclose(found[1], alone.probabilities(sentences[1:])[0], atol=1e-5)
    for place in range(2):
        u, q, k, v = (layer.weights[n][place].detach().double() for n in ("U", "W_Q", "W_K", "W_V"))
        for sentence, p in zip(sentences[place], found[place], strict=True):
            tokens = u[torch.from_numpy(sentence[:2])]
            b = ((tokens @ k) @ (tokens[1] @ q) / 8**0.5).softmax(0)
            mixed = b @ tokens
            logits = mixed / mixed.square().mean().sqrt() @ v @ u.T
            assert np.allclose(p, logits.softmax(-1).numpy(), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_read_is_counted_by_hand(task: str) -> None:
    """A layer that knows a made-up table of probabilities."""
    worlds, _, m = stacked(task)
    table = np.random.default_rng(0).dirichlet(np.ones(m), size=(2, m, m))

    class Known:
        def epoch(self) -> None: ...

        def probabilities(self, asked: np.ndarray) -> np.ndarray:
            return np.stack([table[s][asked[s, :, 0], asked[s, :, 1]] for s in range(2)])

    found = read(Known(), worlds)
    for s, world in enumerate(worlds):
        train = [table[s][tuple(sentence)] for sentence in world.train]
        held_out = [table[s][tuple(sentence)] for sentence in world.validation]
        assert found["train"][s] == pytest.approx(np.mean(train))
        assert found["least_train"][s] == pytest.approx(np.min(train))
        assert found["held_out_times_m"][s] == pytest.approx(m * np.mean(held_out))
        assert found["largest_times_m"][s] == pytest.approx(m * np.max(held_out))
        shown = world.concluded if isinstance(world, Chains) else world.train_both_ways
        assert found["shown"][s] == pytest.approx(np.mean(np.array(train)[shown]))
        if isinstance(world, Chains):
            right = [table[s][table[s][x, 0].argmax(), 0].argmax() == z for x, _, z in world.held_out]
            assert found["rollout"][s] == pytest.approx(np.mean(right))


def test_a_killed_run_goes_on_and_ends_with_the_same_curves(tmp_path) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    for kept in list(tmp_path.iterdir())[::2]:
        kept.unlink()
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = measure(whole)
    assert {name for claim in CLAIMS for name in claim.reads} <= set(measured)
    assert all(estimate.defined for estimate in measured.values())
    assert len(STUDY.figure(measured, whole).axes) == 6


def test_the_last_epoch_is_measured_over_seeds() -> None:
    rows = [(s, e, "wide", "chain", "train", e + s / 10) for s in range(3) for e in range(3)]
    columns = ["seed", "epoch", "model", "task", "quantity", "value"]
    estimate = measure(pl.DataFrame(rows, schema=columns, orient="row"))["wide_chain_train"]
    assert (estimate.mean, estimate.n) == (pytest.approx(2.1), 3)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.REPRODUCED),
        ({"reparametrised_reversal_held_out_times_m": 1.5}, Verdict.CONTRADICTED),
        ({"reparametrised_reversal_held_out_times_m": 1.0}, Verdict.INCONCLUSIVE),
        ({"reparametrised_reversal_train": 0.9}, Verdict.INCONCLUSIVE),
        ({"reparametrised_reversal_shown": 0.9}, Verdict.INCONCLUSIVE),
    ],
    ids=str,
)
def test_every_branch_of_the_theorems_rule(change: dict[str, float], verdict: Verdict) -> None:
    base = dict.fromkeys(CLAIMS[0].reads, 0.99) | {"reparametrised_reversal_held_out_times_m": 0.2}
    measured = {name: around(mean) for name, mean in (base | change).items()}
    assert CLAIMS[0].judge(measured).verdict is verdict


@pytest.mark.parametrize(
    ("rollout", "verdict"), [(0.99, "reproduced"), (0.5, "contradicted"), (0.95, "inconclusive")]
)
def test_the_rule_of_the_rollout(rollout: float, verdict: str) -> None:
    measured = {"reparametrised_chain_train": around(0.99), "reparametrised_chain_rollout": around(rollout)}
    assert CLAIMS[-1].judge(measured).verdict is Verdict(verdict)
