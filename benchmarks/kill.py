"""Kills training, a study and an audit again and again, and compares what comes out with an undisturbed run.

    python benchmarks/kill.py                    10 kills of train, run reversal, dissect and repair, 20 of audit
    python benchmarks/kill.py audit --kills 5    one of them, fewer

Each command runs once undisturbed. Then it is started, killed with SIGKILL at a random moment and started again
with the same words, until all kills are used up; a run that finishes meanwhile is compared and begun anew. At
least three kills hit a checkpoint's temporary file and one the record's: there the disk is a slow one, simulated
in the process (every fsync of a file sleeps first), and a kill counts only where the half-written file was left behind.

A repair's states are written by transformers' Trainer, file by file into a folder: such a folder is half written until
the file that says that it is whole stands in it.

Identical means: the same files; equal tables to the last bit; equal bytes of weights, tokenizer and figures; equal
records but for run id, times and the note that it was resumed. The pages are made from these and hold the times; the
states of a repair, which name their own folder, are not compared, only what came of them.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from oneway.evidence import atomic
from oneway.evidence.atomic import is_temporary
from oneway.evidence.pace import SAVE_SECONDS
from oneway.evidence.record import RESUMED
from oneway.facts import facts_lines, relations_toml, resolve
from oneway.studies.repairing import STATES
from oneway.training.fine_tuning import WHOLE

RECORD, SLOW = "record.json", 0.1
KILLS = {"train": 10, "run": 10, "audit": 20, "dissect": 10, "repair": 10}
OTHER_EACH_TIME = ("run_id", "created", "wall_seconds", "notes")
VICTIM = """
import os, stat, sys, time
from oneway.evidence import pace
pause, pace.SAVE_SECONDS, sys.argv = float(sys.argv[1]), float(sys.argv[2]), ["oneway", *sys.argv[3:]]
def slowly(handle, fsync=os.fsync):
    if stat.S_ISREG(os.fstat(handle).st_mode):
        time.sleep(pause)
    fsync(handle)
os.fsync = slowly
from oneway.cli import main
main()
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How long the commands run: by default a little over a minute each."""

    facts: tuple[str, ...] = ("--facts", "parents")
    training_steps: int = 500
    seeds: int = 60
    audited_width: int = 256
    candidates: int = 300
    dissected: int = 400
    epochs: int = 10
    save_seconds: float = SAVE_SECONDS


def commands(size: Size, folder: Path) -> dict[str, list[str]]:
    """The words of each command but its --out; makes the models that are audited and dissected."""
    model = folder / "model"
    shape = ["--layers", "2", "--width", str(size.audited_width), "--heads", "4"]
    train = ["train", *size.facts]
    run_to_end([*train, *shape, "--steps", "3", "--out", str(model)], size)
    athletes, compiled = folder / "athletes.jsonl", folder / "compiled"
    table = resolve("athletes")
    some = table.with_facts(table.facts[:: len(table) // size.dissected])
    relations = folder / "athletes.toml"
    atomic.write_text(athletes, facts_lines(some))
    atomic.write_text(relations, relations_toml(some.relations.values()))
    known = ["--facts", str(athletes), "--relations", str(relations)]
    run_to_end(["compile", *known, "--out", str(compiled)], size)
    return {
        "train": [*train, "--steps", str(size.training_steps)],
        "run": ["run", "reversal", "--seeds", str(size.seeds)],
        "audit": ["audit", "--model", str(model), *size.facts, "--candidates", str(size.candidates)],
        "dissect": ["dissect", "--model", str(compiled), *known, "--entities", "2"],
        "repair": [
            *["repair", "--model", str(model), *size.facts, "--remedy", "both-directions"],
            *["--epochs", str(size.epochs), "--save-every", "20", "--candidates", "10"],
        ],
    }


def started(command: list[str], size: Size, pause: float = 0.0) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", VICTIM, str(pause), str(size.save_seconds), *command]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run_to_end(command: list[str], size: Size) -> None:
    """Raises RuntimeError, with what the command said, where it fails."""
    process = started(command, size)
    ended(process, process.communicate()[1])


def ended(process: subprocess.Popen[bytes], said: bytes) -> None:
    if process.returncode != 0:
        raise RuntimeError(f"the command ended with {process.returncode}: {said.decode()}")


def half_written(out: Path) -> set[tuple[str, int]]:
    """Temporary files and folders in a run's folder, and states that are not whole, each with its number on disk."""
    found = set()
    for folder, folders, files in os.walk(out):
        names = [name for name in (*folders, *files) if is_temporary(name)]
        if Path(folder).name == STATES:
            names += [name for name in folders if not Path(folder, name, WHOLE).exists()]
        for name in names:
            with suppress(FileNotFoundError):  # it was written whole, and renamed, meanwhile
                found.add((name, os.stat(Path(folder, name)).st_ino))
    return found


def numbers(out: Path) -> dict[str, Any]:
    """All of a finished run that must not depend on how often it was killed."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if STATES in path.relative_to(out).parts:
            continue
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            found[name] = (table.schema, table.to_dict(as_series=False))
        elif path.name == RECORD:
            record = json.loads(path.read_text(encoding="utf-8"))
            notes = [note for note in record["notes"] if note != RESUMED]
            found[name] = {k: v for k, v in record.items() if k not in OTHER_EACH_TIME} | {"notes": notes}
        elif path.name == "report.html":
            found[name] = "made from the others"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def undisturbed(command: list[str], out: Path, size: Size) -> dict[str, float]:
    """Run once to the end; the seconds of work, and the longest time between two states on disk."""
    process = started([*command, "--out", str(out)], size)
    saved: set[int] = set()
    while process.poll() is None:
        for folder, _, files in os.walk(out):
            for name in files:
                if name.endswith((".safetensors", ".parquet")):
                    try:
                        saved.add(os.stat(Path(folder, name)).st_mtime_ns)
                    except FileNotFoundError:
                        continue
        time.sleep(0.05)
    ended(process, process.communicate()[1])
    gaps = np.diff(np.array(sorted(saved))) / 1e9
    seconds = json.loads((out / RECORD).read_text(encoding="utf-8"))["wall_seconds"]
    return {
        "seconds": round(seconds, 1),
        "states_saved": len(saved),
        "longest_gap_seconds": round(float(gaps.max(initial=0)), 2),
    }


@dataclass
class Campaign:
    """The kills of one command."""

    command: list[str]
    out: Path
    size: Size
    reference: dict[str, Any]
    rng: np.random.Generator
    longest_life: float
    kills: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("random", "checkpoint", "record"), 0)
    )
    finished: int = 0
    differences: list[str] = field(default_factory=list)

    def survive(self, plan: list[str]) -> None:
        """Kill as planned, then let the last run finish; every finished run is compared."""
        for kind in plan:
            while not self._killed(kind):
                self._compare()
        run_to_end([*self.command, "--out", str(self.out)], self.size)
        self._compare()

    def _killed(self, kind: str) -> bool:
        """Start the command and kill it; False where it finished before."""
        before = half_written(self.out)  # what earlier kills left counts for them
        process = started(
            [*self.command, "--out", str(self.out)], self.size, 0.0 if kind == "random" else SLOW
        )
        if kind == "random":
            self._wait(process, self.rng.uniform(0.2, self.longest_life))
        else:
            nth = 1 if kind == "record" else int(self.rng.integers(1, 3))
            self._sight(process, kind, nth, before)
            self._wait(process, self.rng.uniform(0, SLOW / 2))
        process.kill()
        said = process.communicate()[1]
        if process.returncode != -9:
            ended(process, said)
            return False
        left = half_written(self.out) - before
        hit = "random" if not left else "record" if any(RECORD in name for name, _ in left) else "checkpoint"
        print(f"killed: {hit}", file=sys.stderr, flush=True)
        if kind == "random" or hit == kind:
            self.kills[hit] += 1
            return True
        return self._killed(kind)

    def _sight(self, process: subprocess.Popen[bytes], kind: str, nth: int, before: set[str]) -> None:
        """Return when the nth temporary file of this kind stands on disk, or the process has ended."""
        seen: set[tuple[str, int]] = set()
        while process.poll() is None and len(seen) < nth:
            for name, number in half_written(self.out) - before:
                if (RECORD in name) == (kind == "record") and "started" not in name:
                    seen.add((name, number))
            time.sleep(0.005)

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)

    def _compare(self) -> None:
        found = numbers(self.out)
        names = sorted(set(found) | set(self.reference))
        self.differences += [name for name in names if found.get(name) != self.reference.get(name)]
        self.finished += 1
        shutil.rmtree(self.out)


def campaign(
    name: str, command: list[str], folder: Path, size: Size, plan: list[str], seed: int
) -> dict[str, Any]:
    """One command, undisturbed and killed; what to print."""
    began = time.monotonic()
    whole = folder / f"{name}-undisturbed"
    told = undisturbed(command, whole, size)
    # Half of the random moments lie in the work, the others may be in the imports.
    longest_life = min(time.monotonic() - began, 10 + time.monotonic() - began - told["seconds"])
    out = folder / f"{name}-killed"
    rng = np.random.default_rng(seed)
    kills = Campaign(command, out, size, numbers(whole), rng, longest_life)
    kills.survive([plan[i] for i in rng.permutation(len(plan) - 1)] + plan[-1:])
    return {
        "command": name,
        **told,
        "kills": sum(kills.kills.values()),
        "in_checkpoint_write": kills.kills["checkpoint"],
        "in_record_write": kills.kills["record"],
        "finished_runs": kills.finished,
        "identical": not kills.differences,
        "differences": kills.differences,
        "harness_seconds": round(time.monotonic() - began),
    }


def planned(kills: int) -> list[str]:
    """Three in a checkpoint's file, one in the record's, which comes last, the others at any moment."""
    return ["random"] * max(0, kills - 4) + ["checkpoint"] * 3 + ["record"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commands", nargs="*", choices=(*KILLS, []), default=[])
    parser.add_argument("--kills", type=int, help="of each command, at least 4 (10, 10 and 20)")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--scale", type=float, default=1.0, help="how long the runs are, beside the default")
    options = parser.parse_args()
    whole, failed = Size(), False
    size = replace(
        whole,
        training_steps=round(whole.training_steps * options.scale),
        seeds=round(whole.seeds * options.scale),
        candidates=round(whole.candidates * options.scale),
        epochs=round(whole.epochs * options.scale),
    )
    with tempfile.TemporaryDirectory() as temporary:
        for name, command in commands(size, Path(temporary)).items():
            if options.commands and name not in options.commands:
                continue
            found = campaign(
                name, command, Path(temporary), size, planned(options.kills or KILLS[name]), options.seed
            )
            failed |= not found["identical"] or found["seconds"] < 60 or found["longest_gap_seconds"] > 5
            print(json.dumps(found), flush=True)
    print(json.dumps({"bar": "identical, at least 60 s long, states at most 5 s apart"}))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
