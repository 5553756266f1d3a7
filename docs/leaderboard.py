"""Writes docs/remedies.md: what every remedy does, what it brings and costs in every world, and one entry or two.

python docs/leaderboard.py        write the page anew
python docs/leaderboard.py RUN    first keep the leaderboard of a finished run of the study `remedies`
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oneway.evidence import Estimate, RunRecord
from oneway.studies.entries import SHARED, judged
from oneway.studies.remedy_picture import ORDER
from oneway.training.remedies.remedy import REMEDIES

HERE = Path(__file__).parent
PAGE, MEASURED = HERE / "remedies.md", HERE / "measured" / "remedies.jsonl"
ENTRIES = HERE / "records" / "entries-quick.json"
START, END = "<!-- written by docs/leaderboard.py -->\n", "<!-- end of leaderboard -->"
Cells = Mapping[tuple[str, str, str, str], Estimate]  # by part, remedy, control and quantity
COSTS = {"other_text": "other text, nats", "words": "words read", "seconds": "s a seed"}


def keep(run: Path) -> None:
    """The leaderboard of a run, and which run that is."""
    import polars as pl

    record = RunRecord.from_json((run / "record.json").read_text(encoding="utf-8"))
    head = {
        "recipe": record.config["recipe"],
        "seeds": len(record.seeds),
        "commit": record.commit["commit"],
        "wall_seconds": record.wall_seconds,
        "hardware": record.hardware,
    }
    rows = pl.read_parquet(run / record.tables["leaderboard"]).drop("setting").iter_rows(named=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in (head, *rows)]
    MEASURED.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read() -> tuple[dict[str, Any], Cells]:
    """Which run, and its estimates."""
    head, *rows = map(json.loads, MEASURED.read_text(encoding="utf-8").splitlines())
    keys = ("part", "remedy", "control", "quantity")
    return head, {tuple(row.pop(key) for key in keys): Estimate.from_dict(row) for row in rows}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def what() -> str:
    """Every remedy with its source and deviation."""
    rows = [
        (one.id, name, one.what, one.source, one.deviation or "–")
        for name, one in REMEDIES.items()
        if name != "none"
    ]
    return table(("", "remedy", "what is read or learnt", "source", "deviation"), rows)


def interval(one: Estimate | None) -> str:
    return "–" if one is None else f"{one.mean:.2f} [{max(one.low, 0):.2f}, {min(one.high, 1):.2f}]"


def overview(cells: Cells, parts: Sequence[str]) -> str:
    """Means of all worlds side by side, the best remedies first, with the least forward recall in any of them."""

    def share(part: str, remedy: str, quantity: str) -> Estimate | None:
        return cells.get((part, remedy, "", quantity))

    def mean(remedy: str) -> float:
        found = [one.mean for part in parts if (one := share(part, remedy, "reverse"))]
        return -sum(found) / len(found)

    rows = []
    for remedy in sorted(REMEDIES, key=lambda name: (mean(name), name)):
        told = share("arrows", remedy, "reverse_told")
        forward = min(one.mean for part in parts if (one := share(part, remedy, "forward")))
        worlds = [share(part, remedy, "reverse") for part in parts]
        rows.append(
            [
                REMEDIES[remedy].id,
                remedy,
                "yes" if told and told.mean else "no",
                *(f"{one.mean:.2f}" if one else "–" for one in worlds),
                f"{forward:.2f}",
            ]
        )
    return table(("", "remedy", "reverse told in some order", *parts, "least forward"), rows)


def by_world(cells: Cells, part: str) -> str:
    """Every remedy and control of a world with intervals, and what it costs."""
    found = {(remedy, control) for of, remedy, control, _ in cells if of == part}

    def place(key: tuple[str, str]) -> tuple[bool, float, str, str]:
        return (key[1] != "", -cells[part, *key, "reverse"].mean, *key)

    rows = []
    for remedy, control in sorted(found, key=place):
        own = {quantity: cells.get((part, remedy, control, quantity)) for quantity in (*COSTS, *SHARES)}
        costs = [own[quantity] for quantity in COSTS]
        rows.append(
            [
                f"{remedy}, control: {control}" if control else remedy,
                *(interval(own[quantity]) for quantity in SHARES),
                *("–" if one is None else f"{one.mean:,.{0 if one.mean > 100 else 1}f}" for one in costs),
            ]
        )
    return table(("remedy", *SHARES.values(), *COSTS.values()), rows)


SHARES = {"reverse": "reverse", "reverse_among": "among candidates", "forward": "forward"}


def entries() -> str:
    """Alignment, edit and overlap of compiled models and of every remedy that works, and what that says."""
    record = RunRecord.from_json(ENTRIES.read_text(encoding="utf-8"))
    found: dict[str, Estimate] = {}
    for claim in record.claims:
        found |= {name: Estimate.from_dict(one) for name, one in claim["measured"].items()}
    names = ["shared-entry", "both-ways", *(name for name in REMEDIES if f"alignment[{name}]" in found)]
    rows = []
    for name in names:
        alignment, edit, overlap = (found[f"{of}[{name}]"] for of in ("alignment", "edit", "overlap"))
        recalled = found.get(f"reverse[{name}]")
        works = recalled is None or recalled.low >= 0.5
        said = {"both-ways": "two", "shared-entry": "one"}.get(
            found_as := judged(alignment.mean, edit.mean), found_as
        )
        if said == "two" and min(alignment.low, edit.low) > SHARED:
            said = "two, shared in part"
        rows.append(
            [
                name if recalled else f"compiled, {name}",
                *(f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in (alignment, edit, overlap)),
                f"{recalled.mean:.2f}" if recalled else "–",
                said if works else "nothing to ask about",
            ]
        )
    head = (
        "",
        "gradients' alignment",
        "reverse follows an edit",
        "overlap of heads and neurons",
        "reverse",
        "entries",
    )
    compiled = found["right[both-ways]"].n
    seeds = f"{len(record.seeds)} seeds of every remedy, {compiled} compiled models of each kind.\n\n"
    return seeds + table(head, rows)


def page(text: str) -> str:
    """The page with its tables written anew."""
    run, cells = read()
    parts = [part for part in ORDER if any(key[0] == part for key in cells)]
    cpu = run["hardware"]
    ground = (
        f"`oneway run remedies --recipe {run['recipe']}`, {run['seeds']} seeds, commit {run['commit'][:10]}, "
        f"{run['wall_seconds'] / 60:.0f} minutes on {cpu['cpu']}, {cpu['cores']} cores.\n"
    )
    written = ["## The remedies", what(), "## All worlds", ground, overview(cells, parts)]
    for part in parts:
        written += [f"### {part.capitalize()}", by_world(cells, part)]
    written += ["## One entry or two", entries()]
    before, rest = text.split(START)
    return before + START + "\n".join(f"{one.strip()}\n" for one in written) + END + rest.split(END)[1]


if __name__ == "__main__":
    if len(sys.argv) == 2:
        keep(Path(sys.argv[1]))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
