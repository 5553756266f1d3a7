"""Writes what compiled tables cost and recall, in docs/compiler.md, from what benchmarks/compile.py printed.

python docs/recall.py
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HERE = Path(__file__).parent
PAGE, MEASURED = HERE / "compiler.md", HERE / "measured" / "compile.jsonl"
START, END = "<!-- recall: written by docs/recall.py -->\n", "<!-- end of recall -->"
KINDS = {"gpt2": "GPT-2", "neox": "NeoX"}


def share(name: str, of: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:.2%} of {row[of]:,}" if row[of] else "none"


RUN: Mapping[str, Callable[[Row], str]] = {
    "facts": lambda row: f"{row['facts']:,} {row['table']}",
    "mechanism": lambda row: f"`{row['mechanism']}`",
    "architecture": lambda row: KINDS[row["architecture"]],
}
RECALL = {
    **RUN,
    "s": lambda row: f"{row['seconds']:.0f}",
    "CPU s": lambda row: f"{row['cpu_seconds']:.0f}",
    "GiB": lambda row: f"{row['peak_gib']:.1f}",
    "recalled": share("recall", "asked"),
    "unknown names end": share("unknown_end", "unknown"),
    "in reverse ends": share("reverse_end", "reverse"),
    "recombined names end": share("recombined_end", "recombined"),
}
SIZES = {
    **RUN,
    "blocks": lambda row: str(row["layers"]),
    "d_model": lambda row: f"{row['width']:,}",
    "million parameters": lambda row: f"{row['parameters'] / 1e6:,.0f}",
    "facts per neuron": lambda row: f"{row['facts_per_neuron']:.3g}",
    "bits per parameter": lambda row: f"{row['bits_per_parameter']:.2g}",
}


def rows() -> list[Row]:
    """The lines of all runs; the hardware that is said before them goes with each."""
    found, ground = [], {}
    for line in MEASURED.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "hardware" in row:
            ground = row
        else:
            found.append(ground | row)
    return found


def table(found: list[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    """Rows in Markdown."""
    cells = [list(columns), ["---"] * len(columns)]
    cells += [[written(row) for written in columns.values()] for row in found]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def told(found: list[Row]) -> str:
    """On what machine, how much longer 100,000 facts take than 10,000, and which bars are missed."""
    machines = dict.fromkeys(
        f"{row['hardware']['cpu']}, {row['hardware']['cores']} cores, {row['threads']} used" for row in found
    )
    sentences = [
        f"On an {'; '.join(machines)}. s are of the clock, while other "
        "work ran beside, CPU s the process's own; GiB is the largest resident memory of the process."
    ]
    took = {(row["table"], row["architecture"], row["facts"]): row["seconds"] for row in found}
    ten, hundred = (took.get(("random", "gpt2", facts)) for facts in (10_000, 100_000))
    if ten and hundred:
        sentences.append(f"100,000 facts take {hundred / ten:.1f} times as long as 10,000.")
    missed = [f"{row['facts']:,} {row['table']} ({', '.join(row['fails'])})" for row in found if row["fails"]]
    sentences.append(f"Bars of the benchmark that were missed: {'; '.join(missed) or 'none'}.")
    return "\n".join(sentences) + "\n"


def with_recall(page: str) -> str:
    """The page with its measurements written anew."""
    found = rows()
    before, rest = page.split(START)
    written = "\n".join((table(found, RECALL), table(found, SIZES), told(found)))
    return before + START + written + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_recall(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
