"""The fit loop: gradients by hand, seeds apart, killed for real and resumed to the same numbers."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.training.fit import CHECKPOINT, Batch, clip, fit, last_tokens_loss, next_token_loss
from oneway.training.optimisers import Optimisation

ARCHITECTURE = gpt2(vocab=17, context=6, layers=2, width=8, heads=2)


def batches(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(17, (2, 5, 4), generator=generator)
    targets = torch.randint(17, (2, 5), generator=generator)
    positions = (torch.arange(5) * 4 + 3).expand(2, -1)
    return Batch(tokens, positions, targets, torch.ones(2, 5))


def test_the_loss_is_the_weighted_mean_surprise_of_the_targets():
    weights, batch = initial_weights(ARCHITECTURE, (1, 2)), batches(0)
    batch = batch._replace(weights=torch.tensor([[1.0, 2, 0, 0, 1], [0, 0, 3, 0, 0]]))
    logprobs = logits(weights, batch.tokens, ARCHITECTURE)[:, :, -1].log_softmax(-1)
    nll = -logprobs.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    by_hand = torch.stack([(nll[0, 0] + 2 * nll[0, 1] + nll[0, 4]) / 4, nll[1, 2]])
    torch.testing.assert_close(next_token_loss(weights, ARCHITECTURE, batch), by_hand)
    torch.testing.assert_close(last_tokens_loss(weights, ARCHITECTURE, batch), by_hand)


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_a_seed_trains_to_the_same_weights_alone_and_stacked(matrices):
    o = Optimisation(steps=5, matrices=matrices, clip=0.5, schedule="linear", warm_up=0.2)
    together = fit(initial_weights(ARCHITECTURE, (1, 2)), ARCHITECTURE, batches, o)
    alone = fit(
        initial_weights(ARCHITECTURE, (2,)),
        ARCHITECTURE,
        lambda step: Batch(*(tensor[1:] for tensor in batches(step)[:4])),
        o,
    )
    for name, value in alone.weights.items():
        torch.testing.assert_close(together.weights[name][1:], value, atol=2e-4, rtol=1e-3)


def test_clipping_bounds_each_seeds_own_gradient():
    weights = {"a": torch.zeros(2, 3, requires_grad=True), "b": torch.zeros(2, 1, 2, requires_grad=True)}
    weights["a"].grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]])
    weights["b"].grad = torch.tensor([[[0.0, 4]], [[0, 0.2]]])
    clip(weights, 1.0)
    torch.testing.assert_close(weights["a"].grad, torch.tensor([[0.6, 0, 0], [0.1, 0, 0]]))
    torch.testing.assert_close(weights["b"].grad, torch.tensor([[[0.0, 0.8]], [[0, 0.2]]]))


def test_frozen_embeddings_do_not_move_and_the_rest_does():
    frozen = replace(ARCHITECTURE, embeddings="frozen", unembedding="untied")
    start = initial_weights(frozen, (1, 2))
    end = fit(start, frozen, batches, Optimisation(steps=2)).weights
    still = {name for name in start if torch.equal(start[name], end[name])}
    assert still == {"W_E", "W_pos"}


def test_a_run_that_was_stopped_ends_with_the_same_numbers(tmp_path: Path):
    o = Optimisation(steps=12, matrices="muon", schedule="linear")

    def evaluate(weights, step):
        return [{"step": step, "size": float(weights["W_E"].square().sum())}]

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise Stop

    arguments = {"evaluate": evaluate, "evaluate_every": 3, "save_every_seconds": 0.0}
    whole = fit(initial_weights(ARCHITECTURE, (1, 2)), ARCHITECTURE, batches, o, **arguments)
    with pytest.raises(Stop):
        fit(
            initial_weights(ARCHITECTURE, (1, 2)),
            ARCHITECTURE,
            batches,
            o,
            workspace=tmp_path,
            progress=stop,
            **arguments,
        )
    rest = fit(
        initial_weights(ARCHITECTURE, (1, 2)), ARCHITECTURE, batches, o, workspace=tmp_path, **arguments
    )
    assert rest.steps_run == 5
    assert rest.curves == whole.curves
    assert all(torch.equal(rest.weights[n], whole.weights[n]) for n in whole.weights)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_fit import ARCHITECTURE, batches
from oneway.models.transformer import initial_weights
from oneway.training.fit import fit
from oneway.training.optimisers import Optimisation
slow = lambda done, total: time.sleep(float(sys.argv[2]))
fitted = fit(initial_weights(ARCHITECTURE, (1, 2)), ARCHITECTURE, batches, Optimisation(steps=40),
             workspace=Path(sys.argv[1]), save_every_seconds=0.0, progress=slow)
print(fitted.steps_run, float(sum(w.double().square().sum() for w in fitted.weights.values())).hex())
"""


def test_a_process_killed_at_any_moment_resumes(tmp_path: Path):
    program = [sys.executable, "-c", KILLED.format(here=str(Path(__file__).parent))]

    def run(folder: str, pause: str) -> list[str]:
        done = subprocess.run(
            [*program, str(tmp_path / folder), pause], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    victim = subprocess.Popen([*program, str(tmp_path / "killed"), "0.2"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / CHECKPOINT).exists():
        assert time.monotonic() < deadline, "the run wrote no checkpoint"
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    resumed, whole = run("killed", "0"), run("whole", "0")
    assert 0 < int(resumed[0]) < 40
    assert int(whole[0]) == 40
    assert resumed[1] == whole[1]


def test_another_configuration_or_a_damaged_state_is_refused(tmp_path: Path):
    def run(steps: int) -> None:
        fit(
            initial_weights(ARCHITECTURE, (1, 2)),
            ARCHITECTURE,
            batches,
            Optimisation(steps=steps),
            workspace=tmp_path,
        )

    run(2)
    with pytest.raises(ValueError, match="another configuration"):
        run(3)
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        run(2)


def test_a_loss_that_is_not_finite_stops_the_run():
    def broken(weights, a, batch):
        return next_token_loss(weights, a, batch) * float("nan")

    with pytest.raises(FloatingPointError, match="not finite"):
        fit(
            initial_weights(ARCHITECTURE, (1, 2)),
            ARCHITECTURE,
            batches,
            Optimisation(steps=60),
            objective=broken,
        )
