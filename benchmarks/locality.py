"""Locality (F18) beside the plain computation, in which every cut context is a prompt of its own.

    python benchmarks/locality.py                   a Pythia-70m shape: tokens per second, 3 interleaved repeats
    python benchmarks/locality.py --shape llama     or gpt2-small: sequential blocks
    python benchmarks/locality.py memory            peak memory for a text and for one of 8 times its size

The same text for both: passages of 128 tokens, of whose tokens all but the first ten are compared, each in contexts of
1 to 10 tokens behind a BOS. Ours is `measure_locality` as it is: tokens read from the file, the pass for the means,
the comparisons by chance (shuffled contexts, other tokens) and the counts by class. Plain is the Hugging Face model
without its unembedding, with hooks on its blocks: the passages once, each cut of all tokens in batches of 256, cosines
by the same mean, means over tokens. Weights are random: time does not depend on them. Times are CPU seconds of one
core; tokens are those that are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from engine import cpu_seconds, hooked, resident, shaped
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from oneway.anatomy.locality import Cuts, Locality, measure_locality
from oneway.anatomy.passages import passages
from oneway.engine import Engine
from oneway.engine.prepared import Prepared
from oneway.facts.names import invented_words
from oneway.models.families import read_decoder
from oneway.models.tokens import word_tokenizer

CUTS, BAR, ROWS = Cuts(), 3.0, 256


def written(path: Path, tokens: int) -> PreTrainedTokenizerFast:
    """A text of so many tokens, random words, and the tokenizer of its words."""
    words = invented_words(2000, np.random.default_rng(0))
    drawn = np.random.default_rng(1).integers(len(words), size=tokens)
    path.write_text(" ".join(words[number] for number in drawn), encoding="utf-8")
    return word_tokenizer([" ".join(words)])


class Plain:
    """Every cut context run by itself."""

    def __init__(self, model: PreTrainedModel, bos: int) -> None:
        self.model, self.bos = model.base_model, bos
        name = {"gpt_neox": "layers", "llama": "layers", "gpt2": "h"}[model.config.model_type]
        self.blocks = list(self.model.get_submodule(name))

    def streams(self, texts: Tensor, columns: slice) -> Tensor:
        """The residual stream of these positions after every block: [layer text pos d_model]."""
        kept: list[Tensor] = []
        front = torch.full((len(texts), 1), self.bos)

        def keep(value: Tensor) -> Tensor:
            kept.append(value[:, 1:][:, columns].clone())
            return value

        with hooked([(block, "out", keep) for block in self.blocks]):
            self.model(torch.cat((front, texts), dim=1), use_cache=False)
        return torch.stack(kept)

    @torch.inference_mode()
    def means(self, batch: Tensor) -> Tensor:
        """Mean cosines by layer and k."""
        full = torch.cat([self.streams(some, slice(None)) for some in batch.split(2)], dim=1)
        centre = full.mean((1, 2), keepdim=True)
        compared = (full - centre)[:, :, CUTS.longest :].flatten(1, 2)
        found = []
        for k in range(1, CUTS.longest + 1):
            texts = batch[:, CUTS.longest + 1 - k :].unfold(1, k, 1).flatten(0, 1)
            total = torch.zeros(len(full))
            for start in range(0, len(texts), ROWS):
                cut = self.streams(texts[start : start + ROWS], slice(-1, None))[:, :, 0] - centre[:, 0]
                own = compared[:, start : start + ROWS]
                total += torch.cosine_similarity(cut, own, dim=-1).sum(1)
            found.append(total / len(texts))
        return torch.stack(found, dim=1)


def speed(shape: str, tokens: int, repeats: int) -> bool:
    torch.set_num_threads(1)
    model = shaped(shape)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        tokenizer = written(text, tokens)
        engine = Engine(Prepared(*read_decoder(model)), tokenizer)
        plain = Plain(model, tokenizer.bos_token_id)
        (batch,) = passages(text, tokenizer, CUTS.passage, tokens)

        def ours() -> Locality:
            return measure_locality(engine, text, CUTS)[0]

        found, expected = ours(), plain.means(batch)
        means = found.spread.of(list(range(found.spread.counts.shape[2]))).mean()[:, : CUTS.longest, 0]
        difference = float(np.abs(means - expected.numpy()).max())
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(repeats):
            times["ours"].append(cpu_seconds(ours))
            times["plain"].append(cpu_seconds(lambda: plain.means(batch)))
    rates = {who: found.tokens / statistics.median(own) for who, own in times.items()}
    ratio = rates["ours"] / rates["plain"]
    row: dict[str, Any] = {"shape": shape, "tokens_compared": found.tokens}
    row |= {f"{who}_tokens_per_second": round(rate, 1) for who, rate in rates.items()}
    row |= {"times_faster": round(ratio, 2), "bar": BAR, "largest_difference": float(f"{difference:.2g}")}
    print(
        json.dumps(row | {"seconds": {who: [round(s, 2) for s in own] for who, own in times.items()}}),
        flush=True,
    )
    return ratio >= BAR and difference < 1e-5


def small_model() -> PreTrainedModel:
    """A model so small that what grows with the text would be seen."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=2048, **sizes)).eval()


def memory_of(tokens: int) -> dict[str, float]:
    """Run in a process of its own: what was needed at the peak beyond what was there before."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        tokenizer = written(text, tokens)
        engine = Engine(Prepared(*read_decoder(small_model())), tokenizer)
        before = resident("now")
        (found,) = measure_locality(engine, text, CUTS)
        return {
            "tokens_compared": found.tokens,
            "text_mib": text.stat().st_size / 2**20,
            "growth_mib": resident() - before,
        }


def memory(tokens: int) -> bool:
    rows = []
    for times in (1, 8):
        command = [sys.executable, __file__, "memory-of", "--tokens", str(times * tokens)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
        print(json.dumps({name: round(value, 1) for name, value in rows[-1].items()}), flush=True)
    return rows[1]["growth_mib"] < 1.3 * rows[0]["growth_mib"] + 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("speed", "memory", "memory-of"), default="speed")
    parser.add_argument("--shape", default="pythia-70m", choices=("pythia-70m", "gpt2-small", "llama"))
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.part == "memory-of":
        print(json.dumps(memory_of(options.tokens)))
        return
    parts = {
        "speed": lambda: speed(options.shape, options.tokens, options.repeats),
        "memory": lambda: memory(options.tokens),
    }
    sys.exit(int(not parts[options.part]()))


if __name__ == "__main__":
    main()
