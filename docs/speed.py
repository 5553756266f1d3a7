"""Writes the speeds of docs/engine.md from what the benchmarks printed (docs/measured): no number is typed by hand.

python docs/speed.py
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, MEASURED = HERE / "engine.md", HERE / "measured"
START, END = "<!-- speed: written by docs/speed.py -->\n", "<!-- end of speed -->"
WORK = {
    "W1": "W1, residual streams of 256 prompts",
    "W3": "W3, every head and MLP ablated",
    "W4": "W4, single neurons ablated",
    "W5": "W5, paths between MLPs",
    "W6": "W6, 100 × 100 names",
}
SHAPES = {"gpt2-small": "GPT-2 small", "llama": "a Llama of that size"}


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of a file of measurements; those of a run carry its `fewer`."""
    found, fewer = [], 1
    for line in (MEASURED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        fewer = row.get("fewer", fewer)
        if "shape" not in row or "workload" in row or "seconds" in row:
            found.append(row | {"fewer": fewer})
    return found


def table() -> str:
    """Times beside plain hooks, in Markdown."""
    lines = [
        "| work | engine, s | plain hooks, s | times faster | share of the matrix-product peak |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows("engine-pythia-70m"), key=lambda row: row["workload"]):
        if row["workload"] in WORK:
            part = "" if row["fewer"] == 1 else f" (1/{row['fewer']} of the neurons)"
            times = f"{row['engine_seconds']:.3g} | {row['plain_seconds']:.3g} | {row['times_faster']:.3g}"
            lines.append(f"| {WORK[row['workload']]}{part} | {times} | {row['share_of_peak']:.2f} |")
    return "\n".join(lines) + "\n"


def factors(name: str) -> str:
    found = rows(name)
    listed = ", ".join(f"{row['workload']} {row['times_faster']:.3g}" for row in found)
    return f"{listed} (1/{found[0]['fewer']} of the work)"


def sentences() -> str:
    """What else was measured."""
    others = "; ".join(f"{shown}: {factors(f'engine-{shape}')}" for shape, shown in SHAPES.items())
    memory = {row["workload"]: row for row in rows("engine-memory")}
    w1, w6 = memory["W1"], memory["W6"]
    (proof,) = rows("engine-proof")
    growth = " and ".join(
        f"{row['seconds'][-1] / row['seconds'][0]:.3g} ({row['against']})" for row in rows("engine-growth")
    )
    told = [
        f"Times faster for other shapes, {others}.",
        f"Beside TransformerLens 4.3.0: {factors('engine-transformer-lens')}.",
        f"Proving a Pythia-410m shape takes {proof['seconds']} s.",
        f"W1 over 10,000 prompts needs {w1['growth_mib']} MiB for a result of {w1['returned_mib']} MiB;",
        f"W6 over 300 × 1,000 names streams {w6['streamed_mib'] / 1024:.0f} GiB through {w6['growth_mib']} MiB.",
        f"Sixteen times the work takes {growth} times as long.",
    ]
    return "\n" + "\n".join(told) + "\n"


def with_speeds(page: str) -> str:
    """The page with its speeds written anew."""
    before, rest = page.split(START)
    return before + START + table() + sentences() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_speeds(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
