"""Our training beside the published loop on the same work: speed, curves, growth, and an estimate for a GPU.

    python benchmarks/training.py                          everything (about 15 minutes on a quiet machine)
    python benchmarks/training.py speed --only a d         seconds per seed and epoch, interleaved repeats
    python benchmarks/training.py curves --epochs 1200     losses of 10 seeds both ways, configuration a
    python benchmarks/training.py growth --plot cost.svg   cost against seeds, width, depth, vocabulary
    python benchmarks/training.py gpu                      the published default on a GPU, an estimate

The same work: the arrows world with every sentence once an epoch in batches of 64, GPT-2 with nothing tied, AdamW,
dropout 0.1, loss on the last entity, loss and probability of every sentence booked as they are trained on, and
the whole validation set after each epoch. Seconds are of the CPU, the median of repeats, after a first epoch
that is not timed; every repeat is a process of its own, the sides in turn. Threads: OMP_NUM_THREADS (1 where it is
not set). FLOPs are those of matrix products, counted in the untimed epoch; the peak is that of a product of
matrices of 2048 × 2048 at the same precision, measured in the same processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from jaxtyping import Float
from products import counting, peak
from published_loop import PublishedLoop
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from oneway.facts.worlds import arrows
from oneway.models.architecture import Architecture, gpt2
from oneway.models.transformer import Weights, initial_weights
from oneway.studies.sentence_training import Epochs, answers
from oneway.training.cross_entropy import cross_entropy
from oneway.training.fit import Batch, fit
from oneway.training.objectives import logits_at_end
from oneway.training.optimisers import Optimisation

BATCH, DROPOUT = 64, 0.1


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One of the four sizes: how many seeds we stack, epochs timed on either side, and what is asked for."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    learning_rate: float
    seeds: int = 1
    epochs: int = 1
    epochs_plain: int = 1
    bar: float = 0.0
    stretch: float = 0.0

    @property
    def matmuls(self) -> tuple[str, ...]:
        """The precisions that our side is timed at; the last one is held to the bar."""
        return ("float32", "bfloat16") if self.width >= 256 else ("float32",)


PUBLISHED = Configuration(layers=24, width=768, heads=12, vocabulary=800, learning_rate=0.01)
CONFIGURATIONS = {
    "a": Configuration(
        layers=1, width=24, heads=12, vocabulary=800, learning_rate=0.001, seeds=10,
        epochs=40, epochs_plain=30, bar=8, stretch=14,
    ),
    "b": Configuration(
        layers=1, width=768, heads=12, vocabulary=800, learning_rate=0.001, epochs=6, epochs_plain=2,
        bar=3.5, stretch=5,
    ),
    "c": replace(PUBLISHED, bar=2.2, stretch=2.8),
    "d": Configuration(
        layers=4, width=256, heads=8, vocabulary=200, learning_rate=0.01, epochs=25, epochs_plain=10,
        bar=2.7, stretch=3.3,
    ),
}  # fmt: skip


def shape(c: Configuration) -> Architecture:
    a = gpt2(vocab=c.vocabulary + 2, context=2, layers=c.layers, width=c.width, heads=c.heads)
    return replace(a, unembedding="untied")


class Ours:
    """Seeds stacked in one fit; what is booked is what the published loop books."""

    def __init__(self, c: Configuration, matmul: str) -> None:
        self.c, self.matmul, self.a = c, matmul, shape(c)
        self.seeds = tuple(range(c.seeds))
        worlds = [arrows(c.vocabulary, seed=seed) for seed in self.seeds]
        self.train = np.stack([world.train for world in worlds])
        self.validation = torch.from_numpy(np.stack([world.validation for world in worlds]))

    def run(self, epochs: int, told: Callable[[int, int], None] = lambda done, total: None) -> list[Any]:
        """Rows per epoch: train and validation loss (nats) and probability, each a list over seeds."""
        batches = Epochs(self.train, self.seeds, BATCH, 1, dropout=DROPOUT)
        booked: list[tuple[Tensor, Tensor]] = []  # mean loss, and sum of probabilities, of every batch

        def objective(weights: Weights, a: Architecture, batch: Batch) -> Float[Tensor, " seed"]:
            logits = logits_at_end(weights, batch.tokens, a, 1, batch.drop)
            nll = cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).view_as(batch.weights)
            loss = nll.mean(1)
            booked.append((loss.detach(), nll.detach().neg().exp().sum(1)))
            return loss

        def evaluate(weights: Weights, step: int) -> list[dict[str, Any]]:
            if not booked:  # before the first step
                return []
            losses, probabilities = zip(*booked, strict=True)
            booked.clear()
            found, _ = answers(weights, self.a, self.validation, 1)
            row = {
                "train_nll": torch.stack(losses).mean(0),
                "train_probability": torch.stack(probabilities).sum(0) / self.train.shape[1],
                "validation_nll": -found.mean(1),
                "validation_probability": found.exp().mean(1),
            }
            return [{name: value.tolist() for name, value in row.items()}]

        o = Optimisation(steps=epochs * batches.steps, learning_rate=self.c.learning_rate, matmul=self.matmul)
        self.steps = batches.steps
        return fit(
            initial_weights(self.a, self.seeds), self.a, batches, o, objective=objective,
            evaluate=evaluate, evaluate_every=batches.steps, progress=told,
        ).curves  # fmt: skip

    def timed(self, epochs: int) -> dict[str, float]:
        """Seconds and FLOPs per seed and epoch; the first epoch is counted and not timed."""
        found: dict[str, float] = {}
        with ExitStack() as stack:
            counter = stack.enter_context(counting())

            def told(done: int, total: int) -> None:
                if done == self.steps:
                    found["flops"] = counter.get_total_flops() / self.c.seeds
                    stack.close()
                    found["start"] = time.process_time()

            self.run(1 + epochs, told)
        seconds = time.process_time() - found.pop("start")
        return found | {"seconds": seconds / epochs / self.c.seeds}


def plain(c: Configuration, seed: int) -> PublishedLoop:
    world = arrows(c.vocabulary, seed=seed)
    return PublishedLoop(
        shape(c), world, seed=seed, batch=BATCH, learning_rate=c.learning_rate, dropout=DROPOUT
    )


def timed_plain(c: Configuration) -> dict[str, float]:
    loop = plain(c, 0)
    with counting() as counter:
        loop.epoch()
    start = time.process_time()
    for _ in range(c.epochs_plain):
        loop.epoch()
    seconds = (time.process_time() - start) / c.epochs_plain
    return {"seconds": seconds, "flops": counter.get_total_flops()}


def side(name: str, which: str) -> dict[str, float]:
    """One repeat of one side, in this process."""
    c = CONFIGURATIONS[name]
    found = timed_plain(c) if which == "plain" else Ours(c, which).timed(c.epochs)
    return found | {"peak": peak("float32" if which == "plain" else which)}


def speed(names: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Every configuration, its sides in turn; a row for each."""
    rows = []
    for name in names:
        c = CONFIGURATIONS[name]
        seen: dict[str, list[dict[str, float]]] = {which: [] for which in ("plain", *c.matmuls)}
        for repeat in range(repeats):
            for which, repeated in seen.items():
                print(f"{name} {which}, repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
                words = [sys.executable, __file__, "side", "--only", name, "--which", which]
                done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                repeated.append(json.loads(done.stdout))
        middle = {
            which: {key: statistics.median(r[key] for r in repeated) for key in repeated[0]}
            for which, repeated in seen.items()
        }
        for which, m in middle.items():
            row = {
                "configuration": name,
                "side": "published loop" if which == "plain" else f"ours, {which}",
                "seeds_at_once": 1 if which == "plain" else c.seeds,
                "seconds_per_seed_and_epoch": float(f"{m['seconds']:.4g}"),
                "slowest_over_fastest": round(
                    max(r["seconds"] for r in seen[which]) / min(r["seconds"] for r in seen[which]), 2
                ),
                "gflop_per_seed_and_epoch": float(f"{m['flops'] / 1e9:.4g}"),
                "peak_gflop_per_second": round(m["peak"] / 1e9),
                "share_of_peak": round(m["flops"] / m["seconds"] / m["peak"], 3),
            }
            if which != "plain":
                row["times_faster"] = round(middle["plain"]["seconds"] / m["seconds"], 2)
            if which == c.matmuls[-1]:
                row |= {"bar": c.bar, "stretch": c.stretch}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def curves(epochs: int) -> bool:
    """Losses of 10 seeds by both at a few epochs; whether the bands mean ± sd over seeds meet at all of them."""
    c = CONFIGURATIONS["a"]
    ours = Ours(c, "float32").run(epochs)
    theirs = []
    for seed in range(c.seeds):
        loop = plain(c, seed)
        theirs.append([loop.epoch() for _ in range(epochs)])
        print(f"published loop, seed {seed + 1} of {c.seeds}", file=sys.stderr, flush=True)
    all_meet = True
    for share in (1 / epochs, 0.1, 0.25, 0.5, 0.75, 1):
        at = max(1, round(share * epochs))
        for quantity in ("train_nll", "train_probability", "validation_nll"):
            a = np.array(ours[at - 1][quantity])
            b = np.array([seed[at - 1][quantity] for seed in theirs])
            spread = a.std(ddof=1) + b.std(ddof=1)
            meet = bool(abs(a.mean() - b.mean()) <= spread)
            all_meet &= meet
            row = {
                "epoch": at,
                "quantity": quantity,
                "ours": f"{a.mean():.4f} ± {a.std(ddof=1):.4f}",
                "published_loop": f"{b.mean():.4f} ± {b.std(ddof=1):.4f}",
                "bands_meet": meet,
            }
            print(json.dumps(row), flush=True)
    return all_meet


GROWTH = Configuration(layers=1, width=64, heads=4, vocabulary=800, learning_rate=0.001, seeds=10)
AXES: dict[str, tuple[int, ...]] = {
    "seeds": (1, 2, 5, 10, 20, 40),
    "width": (16, 32, 64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
    "vocabulary": (50, 200, 800, 3200),
}


def growth(plot: Path | None) -> None:
    """Our cost per seed and epoch around one layer of width 64, vocabulary 800, 10 seeds, in float32.

    From width 256 on one seed is trained at a time. The sentences of an epoch grow with the vocabulary.
    """
    top, found = peak(), dict[str, list[float]]()
    for axis, values in AXES.items():
        for value in values:
            c = replace(GROWTH, **{axis: value})
            c = replace(c, seeds=1) if c.width >= 256 else c
            m = Ours(c, "float32").timed(3)
            found.setdefault(axis, []).append(m["seconds"])
            row = {
                axis: value,
                "seeds_at_once": c.seeds,
                "ms_per_seed_and_epoch": float(f"{m['seconds'] * 1e3:.3g}"),
                "gflop_per_seed_and_epoch": float(f"{m['flops'] / 1e9:.3g}"),
                "share_of_peak": round(m["flops"] / m["seconds"] / top, 3),
            }
            print(json.dumps(row), flush=True)
    if plot is not None:
        drawn(found, plot)


def drawn(found: dict[str, list[float]], plot: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axes, (axis, seconds) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        axes.loglog(AXES[axis], [s * 1e3 for s in seconds], "o-")
        axes.set_xticks(AXES[axis], [str(value) for value in AXES[axis]], fontsize=7)
        axes.minorticks_off()
        axes.set_xlabel("seeds at once" if axis == "seeds" else axis)
    figure.axes[0].set_ylabel("CPU ms per seed and epoch")
    figure.savefig(plot)


GPU = {"name": "H100 SXM, data sheet", "tf32_flops": 495e12, "bytes_per_second": 3.35e12}
UTILISATION = 0.4  # of either
# Bytes of memory traffic per parameter and step: weights read forward and backward, gradient written (12); AdamW
# reads weight, gradient and two moments and writes all but the gradient (28).
BYTES_PER_PARAMETER = 40
SECONDS_PER_LAUNCH = 5e-6


class Launches(TorchDispatchMode):
    """Counts operations that compute something, not views: what a GPU would launch kernels for, at least."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and "empty" not in str(func)
        return func(*args, **(kwargs or {}))


def launches_a_step(layers: int) -> int:
    """Of one seed, validation's share included; the width does not matter, so it is small."""
    ours = Ours(replace(PUBLISHED, layers=layers, width=24), "float32")
    with Launches() as launches:
        ours.run(1)
    return round(launches.count / ours.steps)


def gpu(epochs: int = 3000, seeds: int = 10) -> None:
    """FLOPs, bytes and launches of the published default, and the seconds that each would take, seeds apart.

    An estimate: nothing is run on a GPU. FLOPs are those that the part `speed` counts for configuration c.
    """
    a, world = shape(PUBLISHED), arrows(PUBLISHED.vocabulary, seed=0)
    steps = -(-len(world.train) // BATCH)
    in_block, head = 12 * a.width**2, a.width * a.vocab
    # Forward products of a sentence: two positions in all blocks but the last, which reads one.
    forward = 2 * (2 * (a.layers - 1) * in_block + in_block + 3 * a.width**2 + head)
    flops = forward * (3 * len(world.train) + len(world.validation))
    parameters = a.layers * in_block + 2 * head
    compute = flops * epochs * seeds / (GPU["tf32_flops"] * UTILISATION)
    memory = (
        BYTES_PER_PARAMETER * parameters * steps * epochs * seeds / (GPU["bytes_per_second"] * UTILISATION)
    )
    launches = launches_a_step(a.layers)
    launching = launches * SECONDS_PER_LAUNCH * steps * epochs * seeds
    bounds = {"matrix products": compute, "memory": memory, "launches": launching}
    print(
        json.dumps(
            {
                "estimate": f"{a.layers} layers, width {a.width}, vocabulary {PUBLISHED.vocabulary}, "
                f"{epochs} epochs, {seeds} seeds; not run",
                "device": GPU["name"],
                "assumed_utilisation": UTILISATION,
                "pflop": round(flops * epochs * seeds / 1e15, 1),
                "petabytes": round(BYTES_PER_PARAMETER * parameters * steps * epochs * seeds / 1e15, 2),
                "launches_a_step": launches,
                "assumed_seconds_a_launch": SECONDS_PER_LAUNCH,
                "gpu_seconds": {bound: round(seconds) for bound, seconds in bounds.items()},
                "estimated_gpu_seconds": round(max(bounds.values())),
                "bound_by": max(bounds, key=lambda bound: bounds[bound]),
            }
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("all", "speed", "curves", "growth", "gpu", "side")
    parser.add_argument("part", nargs="?", choices=parts, default="all")
    parser.add_argument("--only", nargs="+", choices=sorted(CONFIGURATIONS), default=sorted(CONFIGURATIONS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1200, help="epochs of the curves")
    parser.add_argument("--plot", type=Path, help="where to draw the growth (.svg or .png)")
    parser.add_argument("--which", choices=("plain", "float32", "bfloat16"), help="the side of one repeat")
    options = parser.parse_args()
    if options.part == "side":
        print(json.dumps(side(options.only[0], options.which)))
        return
    failed = False
    if options.part in ("all", "speed"):
        rows = speed(options.only, options.repeats)
        failed |= any(row["times_faster"] < row["bar"] for row in rows if "bar" in row)
    if options.part in ("all", "curves"):
        failed |= not curves(options.epochs)
    if options.part in ("all", "growth"):
        growth(options.plot)
    if options.part in ("all", "gpu"):
        gpu()
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
