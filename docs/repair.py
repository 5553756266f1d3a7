"""Writes what a repair brings and costs, in docs/repair.md, from what the benchmarks printed.

python docs/repair.py
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HERE = Path(__file__).parent
PAGE, MEASURED = HERE / "repair.md", HERE / "measured" / "repair.jsonl"
MARK, END = "<!-- {}: written by docs/repair.py -->\n", "<!-- end of {} -->"
BARS = {"unseen reverse": 0.80, "forward": 0.95, "other text": 0.02, "seconds": 600}


def interval(estimate: Row) -> str:
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def recall(quantity: str, when: str) -> Callable[[Row], str]:
    return lambda row: interval(row["facts"][quantity][when]) if quantity in row["facts"] else "–"


def other_text(row: Row) -> str:
    """The relative change of the loss: a fall is negative."""
    gain = row["other_text"]["other_text_gain"]
    return f"{-gain['mean']:+.1%} [{-gain['high']:+.1%}, {-gain['low']:+.1%}]"


def remedy(row: Row) -> str:
    return f"`{row['remedy']}`"


COST = {
    "other text's loss": other_text,
    "lines taught": lambda row: f"{sum(row['lines'].values()):,}",
    "s": lambda row: f"{row['seconds']:.0f}",
    "CPU s": lambda row: f"{row['cpu_seconds']:.0f}",
    "threads": lambda row: str(row["threads"]),
}
ALL: Mapping[str, Callable[[Row], str]] = {
    "remedy": remedy,
    "phrasings taught": lambda row: str(row["taught"]),
    "loss on": lambda row: {"text": "every token", "answer": "the completion"}[row["loss"]],
    "reverse, unseen phrasings, before": recall("unseen_reverse", "before"),
    "after": recall("unseen_reverse", "after"),
    "reverse, taught": recall("taught_reverse", "after"),
    "forward, unseen": recall("unseen_forward", "after"),
    "forward, taught": recall("taught_forward", "after"),
    **COST,
}
HALF: Mapping[str, Callable[[Row], str]] = {
    "remedy": remedy,
    "reverse, unseen phrasings, before": recall("unseen_reverse", "before"),
    "after": recall("unseen_reverse", "after"),
    "reverse, taught": recall("taught_reverse", "after"),
    "let write, unseen": recall("unseen_written", "after"),
    "let write, taught": recall("taught_written", "after"),
    "best guesser": lambda row: f"{row['facts']['unseen_reverse']['chance']:.3f}",
    **COST,
}


def rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(found: list[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    """Rows in Markdown."""
    cells = [list(columns), ["---"] * len(columns)]
    cells += [[written(row) for written in columns.values()] for row in found]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def missed(row: Row) -> list[str]:
    """The bars of the issue that a repair of all facts misses, by their means."""
    facts, gain = row["facts"], row["other_text"]["other_text_gain"]["mean"]
    met = {
        "unseen reverse": facts["unseen_reverse"]["after"]["mean"] >= BARS["unseen reverse"],
        "forward": facts["taught_forward"]["after"]["mean"] >= BARS["forward"],
        "other text": gain >= -BARS["other text"],
        "seconds": row["seconds"] <= BARS["seconds"],
    }
    return [name for name, reached in met.items() if not reached]


def told(found: list[Row]) -> str:
    """Which bars are missed, and on what machine."""
    verdicts = "; ".join(
        f"`{row['remedy']}` ({row['taught']} phrasings, loss on {row['loss']}): {', '.join(missed(row)) or 'none'}"
        for row in found
    )
    machines = dict.fromkeys(f"{row['hardware']['cpu']}, {row['hardware']['cores']} cores" for row in found)
    ground = f"On an {'; '.join(machines)}; other work ran beside those with one thread."
    return f"Bars that are missed: {verdicts}.\n\n{ground}\n"


def with_measurements(page: str) -> str:
    """The page with its measurements written anew."""
    measured = rows(MEASURED)
    every, half = ([row for row in measured if row["half"] is which] for which in (False, True))
    parts = {
        "all": f"{table(every, ALL)}\n{told(every)}",
        "half": table(half, HALF) if half else "Not measured yet.\n",
    }
    for name, text in parts.items():
        start, end = MARK.format(name), END.format(name)
        before, rest = page.split(start)
        page = before + start + text + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(with_measurements(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
