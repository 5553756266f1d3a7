"""How fast the engine is beside plain hooks on the Hugging Face model, how its memory and cost grow, what proof costs.

    python benchmarks/engine.py speed                     a Pythia-70m shape: W1 to W6, 5 interleaved repeats
    python benchmarks/engine.py speed --shape gpt2-small  or llama; --fewer 4 takes a quarter of prompts, neurons, names
    python benchmarks/engine.py memory                    W1 over 10,000 prompts, W6 over 300 × 1,000 names
    python benchmarks/engine.py growth --plot cost.png    seconds against prompts and sites, over a factor of 16
    python benchmarks/engine.py proof                     a Pythia-410m shape

Prompts have 12 tokens, of which the name's are the third to the fifth; the others are the same in all. Weights are
random: time does not depend on them. Plain hooks read and edit as the engine does, compute the last position's scores
only, and take 128 rows at a time (W1, W4), all prompts (W3, W5) or about 256 rows (W6): tried alone, batches of 128
and 256 took the same time a row, and 64 took 6% more. Times are CPU seconds of one core, so that other
work on the machine disturbs little; FLOPs are counted from the matrix products that were run, and the peak is that of
the fastest product of 2,048 × 2,048 matrices, be it the default library's or oneDNN's.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from products import counting, peak
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from oneway.engine import Engine, LogitDifference, LogProbability, Site
from oneway.engine.prepared import Prepared
from oneway.engine.proof import prove
from oneway.engine.workloads import (
    direct_effects,
    mlp_path_effects,
    neuron_effects,
    product_of_names,
    residuals,
    total_effects,
)
from oneway.models.families import read_decoder

LENGTH, NAME, LAYERS = 12, 4, range(5)
BARS = {"pythia-70m": {"W1": 2.0, "W3": 4.0, "W4": 4.0, "W5": 4.0, "W6": 5.0}}
SEQUENTIAL = {"W3": 2.5, "W4": 2.5, "W5": 2.5, "W6": 2.5}
SHARES = {"pythia-70m": {"W3": 0.5, "W4": 0.5, "W6": 0.6}}


def shaped(shape: str) -> PreTrainedModel:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25}
    if shape == "gpt2-small":
        return GPT2LMHeadModel(GPT2Config()).eval()
    if shape == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=50257,
                hidden_size=768,
                intermediate_size=2048,
                num_hidden_layers=12,
                num_attention_heads=12,
            )
        ).eval()
    width, layers, heads = {"pythia-70m": (512, 6, 8), "pythia-410m": (1024, 24, 16)}[shape]
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
        rope_parameters=rope,
    )
    return GPTNeoXForCausalLM(config).eval()


def prompts(count: int, seed: int = 0) -> Tensor:
    """[count 12] tokens that differ at positions 2 to 4 only."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 30_000, (count, LENGTH), generator=generator)
    ids[:, :2], ids[:, NAME + 1 :] = ids[0, :2], ids[0, NAME + 1 :]
    return ids


class Plain:
    """The same workloads with hooks on the Hugging Face model."""

    ROWS = 128

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, kind = model, model.config.model_type
        blocks = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "llama": "model.layers"}[kind]
        self.blocks = list(model.get_submodule(blocks))
        names = {
            "gpt2": ("attn.c_proj", "mlp", "mlp.c_fc", "mlp.c_proj", "ln_2"),
            "gpt_neox": (
                "attention.dense",
                "mlp",
                "mlp.dense_h_to_4h",
                "mlp.dense_4h_to_h",
                "post_attention_layernorm",
            ),
            "llama": (
                "self_attn.o_proj",
                "mlp",
                "mlp.gate_proj",
                "mlp.down_proj",
                "post_attention_layernorm",
            ),
        }[kind]
        self.z, self.mlp, self.pre, self.post, self.norm = (
            [block.get_submodule(name) for block in self.blocks] for name in names
        )
        self.heads = model.config.num_attention_heads

    def last(self, ids: Tensor) -> Tensor:
        return self.model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]

    @torch.inference_mode()
    def w1(self, ids: Tensor) -> Tensor:
        out = torch.empty(len(ids), len(self.blocks), self.model.config.hidden_size)
        for start in range(0, len(ids), self.ROWS):
            rows = slice(start, start + self.ROWS)
            with hooked([(b, "out", take(out[rows][:, layer])) for layer, b in enumerate(self.blocks)]):
                self.last(ids[rows])
        return out

    @torch.inference_mode()
    def w3(self, ids: Tensor, right: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
        z = [torch.empty(len(ids), self.model.config.hidden_size) for _ in self.blocks]
        mlp = [torch.empty_like(one) for one in z]
        with hooked(
            [(m, "in", take(z[layer])) for layer, m in enumerate(self.z)]
            + [(m, "out", take(mlp[layer])) for layer, m in enumerate(self.mlp)]
        ):
            self.last(ids)
        width, row = z[0].shape[1] // self.heads, torch.arange(len(ids))
        heads = torch.empty(len(self.blocks), self.heads, len(ids))
        mlps = torch.empty(len(self.blocks), len(ids))
        for layer in range(len(self.blocks)):
            for head in range(self.heads):
                part = slice(head * width, (head + 1) * width)
                with hooked(
                    [(self.z[layer], "in", put((slice(None), NAME, part), z[layer][:, part].mean(0)))]
                ):
                    logits = self.last(ids)
                heads[layer, head] = logits[row, right] - logits[row, wrong]
            with hooked([(self.mlp[layer], "out", put((slice(None), NAME), mlp[layer].mean(0)))]):
                logits = self.last(ids)
            mlps[layer] = logits[row, right] - logits[row, wrong]
        return heads, mlps

    @torch.inference_mode()
    def w4(self, ids: Tensor, answer: Tensor, neurons: int) -> Tensor:
        post = torch.empty(len(ids), self.post_width)
        with hooked([(self.post[1], "in", take(post))]):
            self.last(ids)
        means, at_once = post.mean(0), self.ROWS // len(ids)
        out = torch.empty(neurons, len(ids))
        for start in range(0, neurons, at_once):
            some = torch.arange(start, min(start + at_once, neurons))
            row, of_row = torch.arange(len(some) * len(ids)), some.repeat_interleave(len(ids))
            with hooked([(self.post[1], "in", put((row, NAME, of_row), means[of_row]))]):
                logits = self.last(ids.repeat(len(some), 1)).log_softmax(-1)
            out[some] = logits[row, answer.repeat(len(some))].view(len(some), -1)
        return out

    @property
    def post_width(self) -> int:
        return getattr(self.model.config, "intermediate_size", None) or 4 * self.model.config.hidden_size

    @torch.inference_mode()
    def w5(self, ids: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        mlp = [torch.empty(len(ids), self.model.config.hidden_size) for _ in LAYERS]
        read = [torch.empty_like(one) for one in mlp]
        with hooked(
            [(self.mlp[layer], "out", take(mlp[layer])) for layer in LAYERS]
            + [(self.norm[layer], "in", take(read[layer])) for layer in LAYERS]
        ):
            logits = self.last(ids)
        row, out = torch.arange(len(ids)), torch.zeros(len(LAYERS), len(LAYERS), len(ids))
        clean = logits[row, right] - logits[row, wrong]
        for receiver in LAYERS:
            for sender in range(receiver):
                heard = self.norm[receiver](read[receiver] - mlp[sender] + mlp[sender].mean(0))
                value = self.mlp[receiver](heard)
                with hooked([(self.mlp[receiver], "out", put((slice(None), NAME), value))]):
                    logits = self.last(ids)
                out[sender, receiver] = logits[row, right] - logits[row, wrong] - clean
        return out

    @torch.inference_mode()
    def w6(self, firsts: Tensor, lasts: Tensor, out: Tensor) -> Tensor:
        at_once = max(1, 256 // len(lasts))
        for start in range(0, len(firsts), at_once):
            some = firsts[start : start + at_once]
            ids = torch.cat((some.repeat_interleave(len(lasts), 0), lasts.repeat(len(some))[:, None]), dim=1)
            part = out[:, :, start : start + at_once].flatten(2, 3)
            with hooked(
                [(self.pre[layer], "out", take(part[0, layer], -1)) for layer in LAYERS]
                + [(self.post[layer], "in", take(part[1, layer], -1)) for layer in LAYERS]
            ):
                self.last(ids)
            out[:, :, start : start + at_once] = part.view_as(out[:, :, start : start + at_once])
        return out


def take(into: Tensor, position: int = NAME) -> Callable[[Tensor], Tensor]:
    def through(value: Tensor) -> Tensor:
        into.copy_(value[:, position] if value.dim() == 3 else value)
        return value

    return through


def put(index: Any, new: Tensor) -> Callable[[Tensor], Tensor]:
    def through(value: Tensor) -> Tensor:
        value = value.clone()
        value[index] = new
        return value

    return through


@contextmanager
def hooked(places: list[tuple[nn.Module, str, Callable[[Tensor], Tensor]]]) -> Iterator[None]:
    handles = []
    for module, side, through in places:
        if side == "in":
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, args, through=through: (through(args[0]), *args[1:])
                )
            )
        else:
            handles.append(
                module.register_forward_hook(
                    lambda _, __, output, through=through: (
                        (through(output[0]), *output[1:]) if isinstance(output, tuple) else through(output)
                    )
                )
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def names_of(engine: Engine, firsts: Tensor, lasts: Tensor, out: Tensor) -> Tensor:
    sites = {(kind, layer): Site(kind, layer) for kind in ("mlp_pre", "mlp_post") for layer in LAYERS}
    for rows, found in product_of_names(engine, firsts, lasts, list(sites.values())):
        for (kind, layer), site in sites.items():
            out[int(kind == "mlp_post"), layer, rows] = found[site]
    return out


def workloads(
    model: PreTrainedModel, fewer: int
) -> dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]]:
    """By name: the engine's call, and the plain one's."""
    engine, plain = Engine(Prepared(*read_decoder(model))), Plain(model)
    many, ids = prompts(256 // fewer), prompts(64 // fewer)
    right, wrong = torch.randint(0, 30_000, (2, len(ids)), generator=torch.Generator().manual_seed(1))
    odds, neurons, few = LogitDifference(right=right, wrong=wrong), plain.post_width // fewer, ids[:8]
    nats, names = LogProbability(answer=right[: len(few)]), 100 // fewer
    firsts = torch.stack((torch.zeros(names, dtype=torch.long), torch.arange(names) + 100), dim=1)
    lasts, out = torch.arange(names) + 900, torch.empty(2, len(LAYERS), names, names, plain.post_width)
    other = torch.empty_like(out)
    return {
        "W1": (lambda: residuals(engine, many, NAME), lambda: plain.w1(many)),
        "W2": (lambda: direct_effects(engine, ids, odds).heads, None),
        "W3": (
            lambda: (lambda e: (e.heads, e.mlps))(total_effects(engine, ids, NAME, odds)),
            lambda: plain.w3(ids, right, wrong),
        ),
        "W4": (
            lambda: neuron_effects(engine, few, 1, NAME, nats, neurons=range(neurons)).patched,
            lambda: plain.w4(few, right[: len(few)], neurons),
        ),
        "W5": (
            lambda: mlp_path_effects(engine, ids, NAME, odds, layers=LAYERS),
            lambda: plain.w5(ids, right, wrong),
        ),
        "W6": (lambda: names_of(engine, firsts, lasts, out), lambda: plain.w6(firsts, lasts, other)),
    }


def cpu_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def flops(call: Callable[[], Any]) -> int:
    """The operations of all matrix products of a call."""
    with counting() as counter:
        call()
    return counter.get_total_flops()


def speed(shape: str, fewer: int, repeats: int, chosen: list[str]) -> bool:
    torch.set_num_threads(1)
    bars, shares = BARS.get(shape, SEQUENTIAL), SHARES.get(shape, {})
    top, met = peak(), True
    print(json.dumps({"shape": shape, "peak_gflops": round(top / 1e9), "fewer": fewer}), flush=True)
    for name, (ours, theirs) in workloads(shaped(shape), fewer).items():
        if name not in chosen:
            continue
        found, work = ours(), flops(ours)
        row: dict[str, Any] = {"workload": name}
        times: dict[str, list[float]] = {"engine": [], "plain": []}
        if theirs is not None:
            row["largest_difference"] = float(f"{difference(found, theirs()):.2g}")
        for _ in range(repeats):
            times["engine"].append(cpu_seconds(ours))
            if theirs is not None:
                times["plain"].append(cpu_seconds(theirs))
        seconds = {who: statistics.median(own) for who, own in times.items() if own}
        row |= {f"{who}_seconds": round(value, 3) for who, value in seconds.items()}
        row |= {
            "engine_gflop": round(work / 1e9, 1),
            "share_of_peak": round(work / seconds["engine"] / top, 2),
        }
        if "plain" in seconds:
            row["times_faster"] = round(seconds["plain"] / seconds["engine"], 2)
            row["bar"] = bars.get(name)
            met &= row["times_faster"] >= bars.get(name, 0)
        met &= row["share_of_peak"] >= shares.get(name, 0)
        print(json.dumps(row), flush=True)
    return met


def difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours, tuple):
        return max(difference(a, b) for a, b in zip(ours, theirs, strict=True))
    return float((ours - theirs).abs().max())


def resident(which: str = "peak") -> float:
    """MiB of memory, now or at most so far."""
    if which == "peak":
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kib / (1024**2 if sys.platform == "darwin" else 1024)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_of(workload: str) -> dict[str, float]:
    """Run in a process of its own: how much the workload needed at its peak beyond what was there before."""
    engine = Engine(Prepared(*read_decoder(shaped("pythia-70m"))))
    if workload == "W1":
        ids = prompts(10_000)
        residuals(engine, ids[:64], NAME)  # what is made ready once
        before = resident("now")
        returned = residuals(engine, ids, NAME)
        size = returned.numel() * returned.element_size() / 2**20
        return {"returned_mib": size, "growth_mib": resident() - before, "bar_mib": 1.3 * size + 300}
    firsts = torch.stack((torch.zeros(300, dtype=torch.long), torch.arange(300) + 100), dim=1)
    sites = [Site(kind, layer) for kind in ("mlp_pre", "mlp_post") for layer in LAYERS]
    before, total, size = resident("now"), 0.0, 0
    for _, found in product_of_names(engine, firsts, torch.arange(1000) + 900, sites):
        for value in found.values():
            total += float(value.mean())
            size += value.numel() * value.element_size()
    return {"streamed_mib": size / 2**20, "growth_mib": resident() - before, "bar_mib": 1024}


def memory() -> bool:
    met = True
    for workload in ("W1", "W6"):
        done = subprocess.run(
            [sys.executable, __file__, "memory-of", "--workloads", workload],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        met &= found["growth_mib"] <= found["bar_mib"]
        print(json.dumps({"workload": workload} | {k: round(v) for k, v in found.items()}), flush=True)
    return met


def growth(plot: Path | None) -> bool:
    """Seconds for 1 to 16 times the prompts, and the sites patched."""
    torch.set_num_threads(1)
    engine = Engine(Prepared(*read_decoder(shaped("pythia-70m"))))
    nats, met = (lambda n: LogProbability(answer=torch.arange(n))), True
    calls: dict[str, Callable[[int], Any]] = {
        "prompts": lambda n: residuals(engine, prompts(256 * n), NAME),
        "sites": lambda n: neuron_effects(engine, prompts(8), 1, NAME, nats(8), neurons=range(64 * n)),
    }
    found: dict[str, dict[int, float]] = {}
    for what, call in calls.items():
        call(1)
        found[what] = seconds = {
            n: min(cpu_seconds(lambda n=n, call=call: call(n)) for _ in range(3)) for n in (1, 2, 4, 8, 16)
        }
        met &= seconds[16] / seconds[1] <= 16 * 1.2
        row = {"times": list(seconds), "seconds": [round(s, 3) for s in seconds.values()]}
        print(json.dumps({"against": what, **row}), flush=True)
    if plot is not None:
        drawn(found, plot)
    return met


def drawn(found: dict[str, dict[int, float]], plot: Path) -> None:
    """Cost against work, with the straight line through the first point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    units = {"prompts": "prompts, W1", "sites": "neurons ablated, W4"}
    steps = {"prompts": 256, "sites": 64}
    for axes, (what, seconds) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        x = [steps[what] * n for n in seconds]
        axes.plot(x, [n * seconds[1] for n in seconds], "--", color="grey", label="in proportion")
        axes.plot(x, list(seconds.values()), "o-", label="measured")
        axes.set_xlabel(units[what])
        axes.set_ylabel("CPU seconds")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    figure.savefig(plot, dpi=150)


def proof() -> bool:
    """Seconds of the proof of a Pythia-410m shape, in a process that has opened nothing before."""
    torch.set_num_threads(1)
    model = shaped("pythia-410m")
    start = time.perf_counter()
    found = prove(Engine(Prepared(*read_decoder(model))), model)
    seconds = time.perf_counter() - start
    row = {"shape": "pythia-410m", "seconds": round(seconds, 2), "bar": 3, "holds": found.holds}
    print(json.dumps(row | {"largest_difference": found.difference}), flush=True)
    return found.holds and seconds < 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("speed", "memory", "memory-of", "growth", "proof"))
    parser.add_argument("--shape", choices=("pythia-70m", "gpt2-small", "llama"), default="pythia-70m")
    parser.add_argument("--fewer", type=int, default=1, help="divides prompts, neurons and names")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="where growth is drawn")
    parser.add_argument("--workloads", nargs="+", default=["W1", "W2", "W3", "W4", "W5", "W6"])
    options = parser.parse_args()
    if options.part == "memory-of":
        print(json.dumps(memory_of(options.workloads[0])))
        return
    parts = {
        "speed": lambda: speed(options.shape, options.fewer, options.repeats, options.workloads),
        "memory": memory,
        "growth": lambda: growth(options.plot),
        "proof": proof,
    }
    sys.exit(0 if parts[options.part]() else 1)


if __name__ == "__main__":
    main()
