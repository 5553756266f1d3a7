"""How long a whole dissection takes, and how much memory, on a compiled checkpoint of Pythia-70m's shape.

    python benchmarks/dissect.py                    1,500 athletes, two relations; once undisturbed
    python benchmarks/dissect.py --facts 300        fewer
    python benchmarks/dissect.py --kills 2          and again, killed so often at random moments

The checkpoint is compiled (NeoX, width 512, 8 heads, 2,048 neurons a block, 6 layers; its vocabulary is the table's
own): two attributes of invented athletes who share their names, a neuron for each fact. One of them is dissected, F1 to
F16 and N1. Each run is the command in a process of its own; memory is its largest resident size, imports included.
Prints a JSON line for the run, and one for every step (the time between two steps on disk).
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from oneway.compiler import Capacity, compile_table
from oneway.evidence import atomic
from oneway.evidence.record import hardware
from oneway.facts import athletes, facts_lines, relations_toml

RELATIONS = ("plays_sport", "born_in")
SHAPE = Capacity(width=512, neurons=2048)
MINUTES, GIB = 20, 6


def compiled(folder: Path, facts: int) -> list[str]:
    """Compile the checkpoint; the words of the command but its --out."""
    table = athletes(facts, seed=0, others=0, parents=0)
    kept = tuple(fact for fact in table if fact.relation in RELATIONS)
    table = replace(table, facts=kept, relations={name: table.relations[name] for name in RELATIONS})
    found = compile_table(table, folder / "model", architecture="neox", capacity=SHAPE)
    print(json.dumps({"compiled": found.summary()}), flush=True)
    atomic.write_text(folder / "facts.jsonl", facts_lines(table))
    atomic.write_text(folder / "relations.toml", relations_toml(table.relations.values()))
    words = ["dissect", "--model", "model", "--facts", "facts.jsonl", "--relations", "relations.toml"]
    return [sys.executable, "-m", "oneway.cli", *words, "--relation", RELATIONS[0]]


def undisturbed(command: list[str], folder: Path) -> dict[str, Any]:
    """Run to the end; seconds, largest resident size, and what each step took."""
    started, out = time.perf_counter(), folder / "undisturbed"
    process = subprocess.Popen([*command, "--out", str(out)], cwd=folder, stdout=subprocess.DEVNULL)
    steps: dict[str, float] = {}
    while process.poll() is None:
        for last in out.glob("workspace/*/finding.json"):
            steps.setdefault(last.parent.name, time.perf_counter() - started)
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")
    seconds = time.perf_counter() - started
    before = 0.0
    for name, at in sorted(steps.items(), key=lambda item: item[1]):
        print(json.dumps({"step": name, "seconds": round(at - before, 1)}), flush=True)
        before = at
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {
        "seconds": round(seconds, 1),
        "gib": round(memory, 2),
        "within": seconds < 60 * MINUTES and memory < GIB,
    }


def killed(command: list[str], folder: Path, kills: int, seconds: float) -> dict[str, Any]:
    """Killed at random moments and started again; whether it ends with the numbers of the undisturbed run."""
    out, rng = folder / "killed", random.Random(0)
    for _ in range(kills):
        process = subprocess.Popen([*command, "--out", str(out)], cwd=folder, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.1, 0.6) * seconds)
        process.kill()
        process.wait()
    subprocess.run([*command, "--out", str(out)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    tables = sorted(path.relative_to(out) for path in out.rglob("*.parquet"))
    same = all(
        pl.read_parquet(out / name).equals(pl.read_parquet(folder / "undisturbed" / name)) for name in tables
    )
    return {"kills": kills, "tables": len(tables), "identical": same}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = compiled(folder, asked.facts)
        found = undisturbed(command, folder)
        threads = os.environ.get("OMP_NUM_THREADS", "all")
        row = {"facts": asked.facts, "threads": threads, **found, "hardware": hardware()}
        print(json.dumps(row), flush=True)
        if asked.kills:
            print(json.dumps(killed(command, folder, asked.kills, found["seconds"])), flush=True)


if __name__ == "__main__":
    main()
