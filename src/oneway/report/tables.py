"""Records as text: in the terminal, and as the table of verdicts in a README."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneway.evidence import Estimate, RunRecord
from oneway.report.palette import DIRECTIONS, words

_STYLES = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow"}
_WIDTH = 110  # where nobody watches there is no width to fit into


def print_record(record: RunRecord, console: Console | None = None) -> None:
    """Print a record's verdicts, estimates and notes to standard output."""
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(_text(record.title), style="bold")
    if record.claims:
        console.print(verdict_table(record))
    if record.summary:
        console.print(summary_table(record.summary))
        console.print(
            "Whole answers right, with 95% intervals over facts; chance is the best of three guessers."
        )
    for note in record.notes:
        console.print(_text(f"note: {note}"))


def verdict_table(record: RunRecord) -> Table:
    """Every claim with its verdict and what was measured for it."""
    table = Table("claim", "verdict", "measured", "n", box=SIMPLE_HEAD)
    shared = len({str(claim["measured"]) for claim in record.claims}) == 1
    for place, claim in enumerate(record.claims):
        verdict = Text(claim["verdict"], style=_STYLES.get(claim["verdict"], ""))
        table.add_row(_text(claim["id"]), verdict, _text(claim["reason"]), "")
        if not shared or place == len(record.claims) - 1:
            for name, fields in claim["measured"].items():
                found = Estimate.from_dict(fields)
                table.add_row("", "", _text(f"{words(name)}: {estimate_text(found)}"), str(found.n))
    return table


def summary_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Exact match per direction: all facts, each split, each relation."""
    entries = {(s["split"], s["relation"], s["direction"]): s for s in summary}
    asked = [d for d in DIRECTIONS if any(key[2] == d for key in entries)]
    table = Table("facts", "n", box=SIMPLE_HEAD)
    for direction in asked:
        table.add_column(words(direction))
        table.add_column("chance", justify="right", style="dim")
    for label, split, relation in _groups(entries):
        found = [entries.get((split, relation, direction)) for direction in asked]
        facts = max((entry["facts"] for entry in found if entry), default=0)
        cells = [cell for entry in found for cell in _cells(entry)]
        table.add_row(_text(label), str(facts), *cells)
    return table


def _groups(entries: Mapping[tuple[str, str, str], Any]) -> Iterator[tuple[str, str, str]]:
    """Label, split and relation of each line; a split or relation that holds every fact is not said twice."""
    splits = list(dict.fromkeys(split for split, relation, _ in entries if split and not relation))
    relations = list(dict.fromkeys(relation for split, relation, _ in entries if relation and not split))
    yield "all", "", ""
    for split in splits if len(splits) > 1 else ():
        yield f"split {words(split)}", split, ""
    for relation in relations if len(relations) > 1 else ():
        yield f"relation {words(relation)}", "", relation


def _cells(entry: Mapping[str, Any] | None) -> tuple[str, str]:
    if entry is None or entry.get("exact_match") is None:
        return "–", ""
    chance = entry.get("chance")
    return estimate_text(Estimate.from_dict(entry["exact_match"])), "" if chance is None else percent(chance)


def estimate_text(estimate: Estimate) -> str:
    """A share as "94% [93, 95]", anything else as "−2.31 [−2.4, −2.2] nats"."""
    if estimate.unit != "probability":
        unit = f" {estimate.unit}" if estimate.unit else ""
        bounds = f"[{estimate.low:.3g}, {estimate.high:.3g}]" if estimate.defined else "(no interval)"
        return f"{estimate.mean:.3g} {bounds}{unit}"
    if not estimate.defined:
        return f"{percent(estimate.mean)} (no interval)"
    low, high = (percent(bound).removesuffix("%") for bound in (estimate.low, estimate.high))
    return f"{percent(estimate.mean)} [{low}, {high}]"


def percent(share: float) -> str:
    """A share in percent, with one decimal where it is near 0 or 1; never rounded up to 100%."""
    hundred = 100 * share
    if 99.9 < hundred < 100:
        return ">99.9%"
    near_an_end = 0 < abs(hundred) < 9.95 or 99 < hundred < 100
    return f"{hundred:.{1 if near_an_end else 0}f}%"


def verdict_table_markdown(records: Mapping[str, RunRecord]) -> str:
    """The verdicts of some runs as a Markdown table, a line per claim; each links to the record given with it."""
    lines = ["| Claim | Verdict | What was claimed, and what was measured | Run |", "|---|---|---|---|"]
    for link, record in records.items():
        recipe, seeds = record.config.get("recipe"), len(record.seeds)
        run = f"{record.study}{f' {recipe}' if recipe else ''}, {seeds} seed{'' if seeds == 1 else 's'}"
        for claim in record.claims:
            found = {words(name): Estimate.from_dict(fields) for name, fields in claim["measured"].items()}
            measured = "; ".join(f"{name} {estimate_text(estimate)}" for name, estimate in found.items())
            said = f"{_markdown(claim['text'])}<br>*{_markdown(measured)}*"
            cells = (
                _markdown(claim["id"]),
                f"**{_markdown(claim['verdict'])}**",
                said,
                f"[{_markdown(run)}]({link})",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "_", "`", "["):
        text = text.replace(mark, f"\\{mark}")
    return text


def _text(text: str) -> Text:
    """Text of a file as it is: no markup is read, and no control character reaches the terminal."""
    return Text("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
