"""TransformerLens's times on the engine's work, beside the engine's. In TransformerLens's own environment:

    make .venv-transformer-lens/.installed
    .venv-transformer-lens/bin/python benchmarks/lens.py [--shape gpt2-small] [--fewer 4] [--repeats 3]

W1, W3 and W4 of `benchmarks/engine.py`, as its users write them: hooks on a `TransformerBridge`, W1 with a cache of the
residual streams only. Its scores are of all positions: nothing in it computes fewer.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from engine import NAME, cpu_seconds, difference, prompts, shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from oneway.engine import LogitDifference, LogProbability, open_model
from oneway.engine.workloads import neuron_effects, residuals, total_effects
from oneway.models.tokens import word_tokenizer

ROWS = 128


class Lens:
    """The workloads with hooks on TransformerLens's model."""

    def __init__(self, bridge: TransformerBridge) -> None:
        self.bridge, self.layers, self.heads = bridge, bridge.cfg.n_layers, bridge.cfg.n_heads

    def w1(self, ids: Tensor) -> Tensor:
        names = [f"blocks.{layer}.hook_resid_post" for layer in range(self.layers)]
        parts = []
        for rows in ids.split(ROWS):
            _, cache = self.bridge.run_with_cache(rows, names_filter=lambda name: name in names)
            parts.append(torch.stack([cache[name][:, NAME] for name in names], dim=1))
        return torch.cat(parts)

    def w3(self, ids: Tensor, right: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
        row = torch.arange(len(ids))

        def odds(name: str, head: int | None) -> Tensor:
            def put(x: Tensor, hook: Any) -> Tensor:
                place = x[:, NAME] if head is None else x[:, NAME, head]
                place[:] = place.mean(0)
                return x

            last = self.bridge.run_with_hooks(ids, fwd_hooks=[(name, put)])[:, -1]
            return last[row, right] - last[row, wrong]

        layers = range(self.layers)
        heads = [
            torch.stack([odds(f"blocks.{layer}.attn.hook_z", head) for head in range(self.heads)])
            for layer in layers
        ]
        return torch.stack(heads), torch.stack(
            [odds(f"blocks.{layer}.hook_mlp_out", None) for layer in layers]
        )

    def w4(self, ids: Tensor, answer: Tensor, neurons: int) -> Tensor:
        name, at_once = "blocks.1.mlp.hook_post", ROWS // len(ids)
        _, cache = self.bridge.run_with_cache(ids, names_filter=lambda n: n == name)
        means, out = cache[name][:, NAME].mean(0), torch.empty(neurons, len(ids))
        for some in torch.arange(neurons).split(at_once):
            row, of_row = torch.arange(len(some) * len(ids)), some.repeat_interleave(len(ids))

            def put(x: Tensor, hook: Any, row: Tensor = row, of_row: Tensor = of_row) -> Tensor:
                x[row, NAME, of_row] = means[of_row]
                return x

            last = self.bridge.run_with_hooks(ids.repeat(len(some), 1), fwd_hooks=[(name, put)])[:, -1]
            out[some] = last.log_softmax(-1)[row, answer.repeat(len(some))].view(len(some), -1)
        return out


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=("pythia-70m", "gpt2-small", "llama"), default="pythia-70m")
    parser.add_argument("--fewer", type=int, default=1, help="divides prompts and neurons")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shaped(options.shape).save_pretrained(folder)
        word_tokenizer(["a b"]).save_pretrained(folder)
        lens = Lens(TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32))
        engine = open_model(folder, device="cpu")
    many, ids = prompts(256 // options.fewer), prompts(64 // options.fewer)
    right, wrong = torch.randint(0, 30_000, (2, len(ids)), generator=torch.Generator().manual_seed(1))
    odds, neurons, few = (
        LogitDifference(right=right, wrong=wrong),
        engine.form.d_mlp // options.fewer,
        ids[:8],
    )
    nats = LogProbability(answer=right[: len(few)])
    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "W1": (lambda: residuals(engine, many, NAME), lambda: lens.w1(many)),
        "W3": (
            lambda: (lambda e: (e.heads, e.mlps))(total_effects(engine, ids, NAME, odds)),
            lambda: lens.w3(ids, right, wrong),
        ),
        "W4": (
            lambda: neuron_effects(engine, few, 1, NAME, nats, neurons=range(neurons)).patched,
            lambda: lens.w4(few, right[: len(few)], neurons),
        ),
    }
    for name, (ours, theirs) in calls.items():
        row = {"workload": name, "largest_difference": float(f"{difference(ours(), theirs()):.2g}")}
        times = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(options.repeats)]
        own, other = (statistics.median(side) for side in zip(*times, strict=True))
        row |= {"engine_seconds": round(own, 3), "transformer_lens_seconds": round(other, 3)}
        print(json.dumps(row | {"times_faster": round(other / own, 2)}), flush=True)


if __name__ == "__main__":
    main()
