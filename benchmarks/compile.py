"""How fast a table is compiled, in how much memory, and whether the checkpoint recalls all of it.

    python benchmarks/compile.py                      every run below, one line each
    python benchmarks/compile.py --table random --facts 10000 --architecture neox --asked 500
    python benchmarks/compile.py --table random --facts 2000 --mechanism hash-and-lookup

`random`: names of 1–4 words and answers of 1–4 words from 400 words, five relations. `two-word`: names of two words
from 200 and 400, one relation, 8 answers. `athletes`, `parents`: the shipped tables. Each is compiled in a process of
its own; memory is the largest resident size of that process, Python and the imports included.

Everything is asked through plain greedy `generate` in float32, questions of one length together, so that nothing is
padded. `recall`: the share of questions after which the answer and END are said, of all facts or of `asked` drawn ones.
`unknown_end`: of `unknown` names that no fact knows, half with a last word that is in no name, half known names without
a fact of the relation that is asked, the share after which END is said; `reverse_end`: the same for facts asked in
reverse, which no table here states; `recombined_end`: for names of known words in orders that are no known name.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from oneway.compiler import compile_table
from oneway.evidence.record import hardware
from oneway.facts import Direction, Fact, FactTable, Relation, load_table, questions

WORDS, RELATIONS, LONGEST = 400, 5, 4
NEURONS = "neuron-per-fact"
BATCH = 250
MOST, SAMPLE = 10_000, 1000  # facts that are asked: of a table, of a larger one
UNKNOWN, CONTROLS = 4000, 500  # no error in 3,000 is below 0.1%, at 95%


@dataclass(frozen=True, slots=True)
class Run:
    """A table to compile, how, and what has to hold: seconds and GiB at most, facts per neuron at least."""

    table: str
    facts: int  # of the shipped tables, all
    architecture: str = "gpt2"
    mechanism: str = NEURONS
    seconds: float = float("inf")
    gib: float = float("inf")
    density: float = 0.0


RUNS = (
    Run("random", 10_000, "gpt2", seconds=60, gib=4),
    Run("random", 10_000, "neox", seconds=60, gib=4),
    Run("athletes", 0, "gpt2"),
    Run("athletes", 0, "neox"),
    Run("parents", 0, "gpt2"),
    Run("parents", 0, "neox"),
    Run("random", 100_000, "gpt2", gib=8),  # and 12 times the seconds of 10,000
    Run("random", 2000, "gpt2", "single-step", density=4),
    Run("random", 2000, "gpt2", "hash-and-lookup", density=2),
    Run("random", 2000, "gpt2", "partial-hash"),
    Run("two-word", 320, "gpt2", "attention-lookup"),
)


def table_of(run: Run) -> FactTable:
    if run.table == "random":
        return random_facts(run.facts)
    return two_word_facts(run.facts) if run.table == "two-word" else load_table(run.table)


def random_facts(count: int, seed: int = 0) -> FactTable:
    """Distinct (name, relation) pairs with random answers."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{i}" for i in range(WORDS)])
    facts: dict[tuple[str, str], Fact] = {}
    while len(facts) < count:
        lengths = rng.integers(1, LONGEST + 1, size=2)
        name, answer = (" ".join(words[rng.integers(WORDS, size=length)]) for length in lengths)
        relation = f"relation{rng.integers(RELATIONS)}"
        facts.setdefault((name, relation), Fact(name, relation, answer))
    return FactTable(tuple(facts.values()), _relations(RELATIONS))


def two_word_facts(count: int, seed: int = 0) -> FactTable:
    """Names of two words, one relation, 8 answers."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(200 * 400)[:count]
    facts = tuple(
        Fact(f"first{p % 200} last{p // 200}", "relation0", f"answer{rng.integers(8)}")
        for p in pairs.tolist()
    )
    return FactTable(facts, _relations(1))


def _relations(count: int) -> dict[str, Relation]:
    names = [f"relation{i}" for i in range(count)]
    forward, reverse = "{{subject}} has as its {} {{object}}", "{{object}} is the {} of {{subject}}"
    return {name: Relation(name, (forward.format(name),), (reverse.format(name),)) for name in names}


def compiled(run: Run, folder: Path) -> dict[str, Any]:
    """Run in a process of its own: compile, and say what that took."""
    table = table_of(run)
    start, cpu = time.perf_counter(), time.process_time()
    found = compile_table(table, folder, run.mechanism, run.architecture)  # type: ignore[arg-type]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_gib": round(kib / 2**20, 2),
        **found.summary(),
    }


class Asked:
    """A checkpoint as anybody would load it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def right(self, prompts: Sequence[str], answers: Sequence[str]) -> float:
        """The share of prompts after which exactly the answer is said, and then END."""
        given, said = (self.tokenizer(list(texts))["input_ids"] for texts in (prompts, answers))
        wanted = [[*ids[1:], self.tokenizer.eos_token_id] for ids in said]  # without BOS
        sizes = [(len(ids), len(answer)) for ids, answer in zip(given, wanted, strict=True)]
        right = 0
        for _, group in groupby(sorted(range(len(sizes)), key=sizes.__getitem__), key=sizes.__getitem__):
            rows = list(group)
            for some in (rows[at : at + BATCH] for at in range(0, len(rows), BATCH)):
                found = self._generated([given[row] for row in some], max(map(len, wanted)))
                right += sum(
                    ids[: len(wanted[row])] == wanted[row] for row, ids in zip(some, found, strict=True)
                )
        return right / len(prompts)

    def end(self, prompts: Sequence[str]) -> float:
        """The share of prompts after which END is said at once."""
        return self.right(prompts, [""] * len(prompts))

    def _generated(self, given: list[list[int]], longest: int) -> list[list[int]]:
        import torch

        ids = torch.tensor(given)
        with torch.inference_mode():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False
            )
        return out[:, ids.shape[1] :].tolist()


def recalled(run: Run, folder: Path, most: int) -> dict[str, Any]:
    """What the checkpoint answers: the shares that the top of this file describes."""
    table, rng, asked = table_of(run), np.random.default_rng(1), Asked(folder)
    forward = list(questions(table, [Direction.FORWARD]))
    forward = [forward[row] for row in rng.permutation(len(forward))[:most]]
    reverse = list(questions(table, [Direction.REVERSE]))
    reverse = [reverse[row] for row in rng.permutation(len(reverse))[:CONTROLS]]
    unknown = list(_unknown(table, rng, min(len(forward), UNKNOWN)))
    others = list(islice(_recombined(table, rng, CONTROLS), CONTROLS))
    start = time.perf_counter()
    return {
        "asked": len(forward),
        "recall": asked.right([q.prompt for q in forward], [q.answer for q in forward]),
        "unknown": len(unknown),
        "unknown_end": asked.end(unknown),
        "reverse": len(reverse),
        "reverse_end": asked.end([q.prompt for q in reverse]),
        "recombined": len(others),
        "recombined_end": asked.end(others) if others else None,
        "asking_seconds": round(time.perf_counter() - start, 1),
    }


def _unknown(table: FactTable, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Questions about names that end in a word of no name, and about known names that have no such fact."""
    relations = list(table.relations.values())
    templates = [template for relation in relations for template in relation.forward]
    known = {
        (fact.subject, template) for fact in table for template in table.relations[fact.relation].forward
    }
    words = sorted({word for fact in table for word in fact.subject.split()})
    several = len(set(templates)) > 1
    while count:
        template = templates[int(rng.integers(len(templates)))]
        if count % 2 and several:
            name = table.facts[int(rng.integers(len(table)))].subject
        else:
            drawn = [words[i] for i in rng.integers(len(words), size=int(rng.integers(LONGEST)))]
            name = " ".join([*drawn, f"stranger{rng.integers(10)}"])
        if (name, template) not in known:
            count -= 1
            yield _asking(template, name)


def _recombined(table: FactTable, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Questions about names that are two known names' beginning and end, and none of them ends in a known name.

    Fewer than `count`, or none, where most words are known names.
    """
    subjects = {fact.subject for fact in table}
    for _ in range(10 * count):
        one, other = (table.facts[int(rng.integers(len(table)))] for _ in range(2))
        words = [*one.subject.split()[:1], *other.subject.split()[-1:]]
        if " ".join(words) not in subjects and words[1] not in subjects:
            yield _asking(table.relations[one.relation].forward[0], " ".join(words))


def _asking(template: str, name: str) -> str:
    return template.split("{object}")[0].strip().format(subject=name)


def broken(run: Run, took: dict[str, Any], seconds: float) -> list[str]:
    """The bars that a run does not hold."""
    bars = {
        "recall": took["recall"] == 1,
        "reverse_end": took["reverse_end"] == 1,
        "unknown_end": run.mechanism != NEURONS or took["unknown_end"] >= 0.999,
        "seconds": took["seconds"] <= seconds,
        "peak_gib": took["peak_gib"] <= run.gib,
        "facts_per_neuron": took["facts_per_neuron"] >= run.density,
    }
    return [name for name, holds in bars.items() if not holds]


def runs_of(options: argparse.Namespace) -> Sequence[Run]:
    if options.table is None:
        return RUNS
    asked = (options.table, options.facts, options.architecture, options.mechanism)
    known = [run for run in RUNS if (run.table, run.facts, run.architecture, run.mechanism) == asked]
    return known or [Run(*asked)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=("random", "two-word", "athletes", "parents"))
    parser.add_argument("--facts", type=int, default=0, help="of a random table")
    parser.add_argument("--architecture", choices=("gpt2", "neox"), default="gpt2")
    parser.add_argument("--mechanism", default=NEURONS)
    parser.add_argument("--asked", type=int, default=MOST, help="facts that are asked at most")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runs = runs_of(options)
    if options.into is not None:
        print(json.dumps(compiled(runs[0], options.into)))
        return
    print(
        json.dumps({"hardware": hardware(), "threads": os.environ.get("OMP_NUM_THREADS", "all")}), flush=True
    )
    failed, seconds = False, dict[str, float]()
    for run in runs:
        command = [sys.executable, __file__, "--table", run.table, "--facts", str(run.facts)]
        command += ["--architecture", run.architecture, "--mechanism", run.mechanism]
        with tempfile.TemporaryDirectory() as folder:
            told = subprocess.run([*command, "--into", folder], check=True, stdout=subprocess.PIPE, text=True)
            took = json.loads(told.stdout)
            asked = min(options.asked, SAMPLE) if run.facts > MOST else options.asked
            took |= recalled(run, Path(folder), asked)
        if run.facts == 10_000:
            seconds[run.architecture] = took["seconds"]
        ten = seconds.get(run.architecture) if run.facts == 100_000 else None
        fails = broken(run, took, run.seconds if ten is None else 12 * ten)
        told_of = {"table": run.table, "mechanism": run.mechanism, "architecture": run.architecture}
        print(json.dumps({**told_of, **took, "fails": fails}), flush=True)
        failed |= bool(fails)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
