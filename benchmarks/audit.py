"""How fast the audit is beside brute force, and how its memory grows with the facts.

    python benchmarks/audit.py            both parts
    python benchmarks/audit.py speed      a Pythia-70m shape, 1,000 facts both ways, right answers + 20 candidates
    python benchmarks/audit.py memory     1,000 and 100,000 facts, a 2-layer model of width 64

Brute force is one plain forward pass of the full text per answer, timed on 50 facts and scaled. Weights are
random: neither time nor memory depends on what a model knows. Threads: OMP_NUM_THREADS (1 where it is not set).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from oneway.facts import Direction, Fact, FactTable, Relation
from oneway.models.tokens import bpe_tokenizer
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit

CONSONANTS, VOWELS, ENDS = "bdgklmnrstv", "aeiou", ("", "n", "r", "l")
SYLLABLES = [first + vowel + end for first in CONSONANTS for vowel in VOWELS for end in ENDS]
CONFIG = AuditConfig(candidates=20, directions=(Direction.FORWARD, Direction.REVERSE))
MOTHER = Relation(
    "mother", ("The mother of {subject} is {object}",), ("{object} is the mother of {subject}",)
)


def facts(count: int, seed: int = 0) -> FactTable:
    """Invented people and their mothers, one to one."""
    rng = np.random.default_rng(seed)

    def word() -> str:
        return "".join(rng.choice(SYLLABLES, size=rng.integers(2, 4))).capitalize()

    names: dict[str, None] = {}
    while len(names) < 2 * count:
        names[f"{word()} {word()}"] = None
    people = list(names)
    return FactTable(
        tuple(Fact(a, "mother", b) for a, b in zip(people[:count], people[count:], strict=True)),
        {"mother": MOTHER},
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that has seen other people's names: one of these is several tokens."""
    return bpe_tokenizer([f"The mother of {f.subject} is {f.object}" for f in facts(500, seed=1)], 2000)


def neox(layers: int, width: int, heads: int, vocab: int) -> PreTrainedModel:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocab,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=0,
        )
    ).eval()


def speed(count: int, timed: int) -> dict[str, float]:
    """Seconds of the audit and of brute force for the same questions, and how many times faster the audit is."""
    table, words = facts(count), tokenizer()
    model = neox(layers=6, width=512, heads=8, vocab=50304)
    start = time.perf_counter()
    rows = audit((model, words), table, CONFIG, device="cpu").rows
    seconds = time.perf_counter() - start

    step = len(table) // timed
    asked = rows.filter((rows["fact"] % step == 0) & (rows["fact"] < step * timed)).to_dicts()
    others = {way: rows.filter(rows["direction"] == way)["answer"].to_list() for way in CONFIG.directions}
    rng = np.random.default_rng(0)
    worst, start = 0.0, time.perf_counter()
    for row in asked:
        wrong = rng.choice(others[row["direction"]], size=row["candidates"] - 1, replace=False)
        scores = [plain(model, words, row["prompt"], answer) for answer in (row["answer"], *wrong)]
        worst = max(worst, abs(scores[0] - row["logprob"]))
    brute = (time.perf_counter() - start) * count / timed
    return {
        "facts": count,
        "answers": int(rows["candidates"].sum()),
        "mean_answer_tokens": round(float(rows["answer_tokens"].mean()), 2),
        "audit_seconds": round(seconds, 1),
        "brute_force_seconds_scaled": round(brute, 1),
        "times_faster": round(brute / seconds, 2),
        "largest_difference_nats": float(f"{worst:.2g}"),
        "threads": torch.get_num_threads(),
    }


def plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> float:
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([tokenizer(prompt + answer)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids).logits[0, start - 1 : -1]
    target = ids[0, start:, None]
    return float(logits.log_softmax(-1).gather(1, target).sum())


def peak_of(count: int) -> dict[str, float]:
    """Run in a process of its own: the largest resident memory of an audit, and its seconds."""
    table, words = facts(count), tokenizer()
    model = neox(layers=2, width=64, heads=2, vocab=2048)
    start = time.perf_counter()
    rows = audit((model, words), table, CONFIG, device="cpu").rows
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return {
        "facts": count,
        "rows": rows.height,
        "peak_mib": kib / 1024,
        "seconds": time.perf_counter() - start,
    }


def memory(small: int, large: int) -> dict[str, float]:
    """How much more resident memory the large audit needed at its peak, its facts and rows included."""
    peaks = []
    for count in (small, large):
        command = [sys.executable, __file__, "peak", "--facts", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(json.loads(done.stdout))
    return {
        "facts": large,
        "peak_mib_small": round(peaks[0]["peak_mib"]),
        "peak_mib_large": round(peaks[1]["peak_mib"]),
        "growth_mib": round(peaks[1]["peak_mib"] - peaks[0]["peak_mib"]),
        "seconds": round(peaks[1]["seconds"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("all", "speed", "memory", "peak"), default="all")
    parser.add_argument(
        "--facts", type=int, help="facts of the speed part (1,000) or the memory part (100,000)"
    )
    parser.add_argument("--timed", type=int, default=50, help="facts that brute force is timed on")
    options = parser.parse_args()
    if options.part == "peak":
        print(json.dumps(peak_of(options.facts or 1000)))
        return
    failed = False
    if options.part in ("all", "speed"):
        found = speed(options.facts or 1000, options.timed)
        failed |= found["times_faster"] < 5
        print(json.dumps({"speed": found, "bar": "at least 5 times faster"}), flush=True)
    if options.part in ("all", "memory"):
        found = memory(1000, options.facts or 100_000)
        failed |= found["growth_mib"] >= 1024
        print(json.dumps({"memory": found, "bar": "less than 1024 MiB more"}), flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
