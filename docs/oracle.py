"""Writes what of planted circuits was found, in docs/dissect.md, from what benchmarks/oracle.py measured.

python docs/oracle.py
"""

import json
from collections.abc import Callable, Iterable, Sequence
from math import floor, isnan
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HERE = Path(__file__).parent
PAGE, MEASURED = HERE / "dissect.md", HERE / "measured"
START, END = "<!-- oracle: written by docs/oracle.py -->\n", "<!-- end of oracle -->"
PLANNED = 100
UNITS = [f"{kind}s_{score}" for kind in ("head", "neuron") for score in ("precision", "recall")]


def rows(name: str) -> list[Row]:
    """One a model."""
    lines = (MEASURED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def least(found: Sequence[Row], names: Sequence[str]) -> str:
    """To four digits, rounded down."""
    values = [row[name] for row in found for name in names if name in row and not isnan(row[name])]
    return f"{floor(1e4 * min(values) + 1e-6) / 1e4:g}" if values else "–"


def share(found: Sequence[Row], name: str) -> str:
    return f"{sum(row[name] for row in found)} of {len(found)}" if found else "–"


COLUMNS: dict[str, Callable[[Sequence[Row]], str]] = {
    "models": lambda found: str(len(found)),
    "with noise": lambda found: str(sum(bool(row["noise"]) for row in found)),
    "facts": lambda found: f"{min(r['facts'] for r in found)}–{max(r['facts'] for r in found)}",
    "least precision or recall of units": lambda found: least(found, UNITS),
    "least rank correlation with ablation": lambda found: least(found, ["ablation_rank_correlation"]),
    "with the manifest": lambda found: least(found, ["manifest_rank_correlation"]),
    "movers found": lambda found: share([row for row in found if row["movers"]], "movers_found"),
    "mechanism named": lambda found: share(found, "best_right"),
    "verdict right": lambda found: share(found, "verdict_right"),
    "CPU s a model": lambda found: f"{sum(row['cpu_seconds'] for row in found) / len(found):.0f}",
}


def table(found: Sequence[Row]) -> str:
    """One line a mechanism, in Markdown."""
    cells = [["mechanism", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for mechanism in dict.fromkeys(row["mechanism"] for row in found):
        own = [row for row in found if row["mechanism"] == mechanism]
        cells.append([f"`{mechanism}`", *(written(own) for written in COLUMNS.values())])
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def ranges(numbers: Iterable[int]) -> str:
    """`0–3, 7` of 0, 1, 2, 3 and 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def told(found: Sequence[Row], calibration: Sequence[Row]) -> str:
    """How many models on what machine, and every model whose verdict is wrong."""
    seeds, before = (ranges({row["seed"] for row in some}) for some in (found, calibration))
    machines = dict.fromkeys(f"{row['hardware']['cpu']}, {row['hardware']['cores']} cores" for row in found)
    clock, cpu = (sum(row[name] for row in found) / 60 for name in ("seconds", "cpu_seconds"))
    right = sum(row["verdict_right"] for row in found)
    wrong = [f"`{row['mechanism']}` {row['seed']}" for row in found if not row["verdict_right"]]
    return (
        f"{len(found)} of the {PLANNED} models that the benchmark has by default, of the seeds {seeds}.\n"
        f"The levels are from {len(calibration)}, whose tables are smaller, of the seeds {before}.\n"
        f"Processes of one thread on an {'; '.join(machines)}, while other work ran beside: {clock:.0f} minutes of the "
        f"clock, {cpu:.0f} of the processes' own.\n"
        f"Verdicts right: {right / len(found):.1%}; wrong: {', '.join(wrong) or 'none'}.\n"
    )


def with_oracle(page: str) -> str:
    """The page with its measurements written anew."""
    found, calibration = rows("oracle"), rows("oracle-calibration")
    before, rest = page.split(START)
    return before + START + table(found) + "\n" + told(found, calibration) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_oracle(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
