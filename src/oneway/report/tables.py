"""Records as text: in the terminal, and as the table of verdicts in a README."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneway.evidence import Estimate, RunRecord
from oneway.evidence.record import printable
from oneway.report.palette import DIRECTIONS, words

if TYPE_CHECKING:
    import polars as pl

_STYLES = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow"}
_LONGEST = 60  # characters of a name on a line
_NAMED = 12  # claims of a cell that are named
_WIDTH = 110  # where nobody watches there is no width to fit into


def print_record(record: RunRecord, console: Console | None = None) -> None:
    """Print a record's verdicts, estimates and notes to standard output."""
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(_text(record.title), style="bold")
    if record.claims:
        console.print(verdict_table(record))
    if any("difference" in entry for entry in record.summary):
        console.print(changes_line(record.summary))
        console.print(difference_table(record.summary))
        console.print(
            "Whole answers right, after less before on the same facts, with 95% intervals; p: exact McNemar."
        )
    elif record.summary:
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
        verdict = _text(claim["verdict"], style=_STYLES.get(claim["verdict"], ""))
        table.add_row(_text(claim["id"]), verdict, _text(claim["reason"]), "")
        if not shared or place == len(record.claims) - 1:
            for name, fields in claim["measured"].items():
                found = Estimate.from_dict(fields)
                table.add_row("", "", _text(f"{words(name)}: {estimate_text(found)}"), str(found.n))
    return table


def claims_table(record: RunRecord) -> Table:
    """Every claim in words with its verdict."""
    table = Table("claim", "verdict", "what was claimed", box=SIMPLE_HEAD)
    for claim in record.claims:
        verdict = _text(claim["verdict"], style=_STYLES.get(claim["verdict"], ""))
        table.add_row(_text(claim["id"]), verdict, _text(claim["text"]))
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


def changes_line(summary: Sequence[Mapping[str, Any]]) -> Text:
    """What became of how many facts, all together."""
    whole = (s for s in summary if not s["relation"] and not s["split"])
    changes: Mapping[str, int] = next((s["changes"] for s in whole if "changes" in s), {})
    return _text(", ".join(f"{n:,} {words(change)}" for change, n in changes.items() if n))


def difference_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """A comparison's exact match per direction, before and after: all facts, each split, each relation."""
    entries = {(s["split"], s["relation"], s["direction"]): s for s in summary}
    table = Table("facts", "direction", box=SIMPLE_HEAD)
    for head in ("n", "before", "after", "difference", "gained", "lost", "p"):
        table.add_column(head, justify="right")
    for label, split, relation in _groups(entries):
        found = [entries.get((split, relation, direction)) for direction in DIRECTIONS]
        for place, entry in enumerate(entry for entry in found if entry):
            p = "–" if entry["p_value"] is None else f"{entry['p_value']:.2g}"
            table.add_row(
                _text("" if place else label),
                words(entry["direction"]),
                f"{entry['facts']:,}",
                percent(entry["before"]),
                percent(entry["after"]),
                signed_text(Estimate.from_dict(entry["difference"])),
                f"{entry['right_after_only']:,}",
                f"{entry['right_before_only']:,}",
                p,
            )
    return table


def signed_text(estimate: Estimate) -> str:
    """A difference of shares in points: "+22 [+19, +25]"."""

    def points(share: float) -> str:
        hundred = round(100 * share, 1 if abs(share) < 0.0995 else 0)
        return f"{hundred:+g}".replace("-", "−") if hundred else "0"

    if not estimate.defined:
        return f"{points(estimate.mean)} (no interval)"
    return f"{points(estimate.mean)} [{points(estimate.low)}, {points(estimate.high)}]"


def print_changed(rows: "pl.DataFrame", console: Console | None = None, most: int = 5) -> None:
    """The first facts of a comparison that were gained, lost and turned around, with what they were."""
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH)
    for change in ("gained", "lost", "turned_around"):
        facts = rows.filter(rows["change"].cast(str) == change)
        for fact in facts.head(most).iter_rows(named=True):
            was, now = (words(fact[f"class_{when}"] or "not asked both ways") for when in ("before", "after"))
            said = " · ".join(_short(fact[name]) for name in ("subject", "relation", "object"))
            console.print(_text(f"{words(change)}: {said}  ({was} → {now})"))
        if facts.height > most:
            console.print(_text(f"{words(change)}: {facts.height - most:,} more in the report"), style="dim")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"


def _groups(entries: Mapping[tuple[str, str, str], Any]) -> Iterator[tuple[str, str, str]]:
    """Label, split and relation of each line; a split or relation that holds every fact is not said twice."""
    splits = list(dict.fromkeys(split for split, relation, _ in entries if split and not relation))
    relations = list(dict.fromkeys(relation for split, relation, _ in entries if relation and not split))
    yield "all", "", ""
    for split in splits if len(splits) > 1 else ():
        yield f"split {words(split)}", split, ""
    for relation in relations if len(relations) > 1 else ():
        yield f"relation {words(relation)}", "", relation


def _cells(entry: Mapping[str, Any] | None) -> tuple[Text | str, str]:
    if entry is None or entry.get("exact_match") is None:
        return "–", ""
    chance = entry.get("chance")
    said = _text(estimate_text(Estimate.from_dict(entry["exact_match"])))
    return said, "" if chance is None else percent(chance)


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
        run = _run_name(record)
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


def verdict_overview_markdown(records: Sequence[tuple[str, RunRecord]]) -> str:
    """The verdicts of some runs as a Markdown table, a line per run: what it asks, and its claims by verdict.

    Each run links to what stands before it. Of more than a dozen claims only their number is said.
    """

    def told(ids: Sequence[str], link: str) -> str:
        if len(ids) > _NAMED:
            return f"[{len(ids)} claims]({link})"
        return _markdown(", ".join(ids)) or "–"

    verdicts = list(_STYLES)
    lines = [
        f"| Run | Asks | {' | '.join(verdict.capitalize() for verdict in verdicts)} |",
        "|---|---|---|---|---|",
    ]
    for link, record in records:
        by_verdict = {
            verdict: [c["id"] for c in record.claims if c["verdict"] == verdict] for verdict in verdicts
        }
        claims = " | ".join(told(by_verdict[verdict], link) for verdict in verdicts)
        lines.append(f"| [{_markdown(_run_name(record))}]({link}) | {_markdown(record.title)} | {claims} |")
    return "\n".join(lines) + "\n"


def verdict_page_markdown(record: RunRecord, link: str, picture: str = "") -> str:
    """One run as a section of Markdown: how to rerun it, its picture, and every claim with rule and numbers."""
    recipe, commit = record.config.get("recipe"), str(record.commit.get("commit") or "")[:10]
    machine = (
        f"{record.hardware.get('gpu') or record.hardware.get('cpu')}, {record.hardware.get('cores')} cores"
    )
    dirty = " with uncommitted changes" if record.commit.get("dirty") else ""
    lines = [
        f"## {_markdown(_run_name(record))}\n",
        f"`oneway run {record.study} --recipe {recipe}`: {record.wall_seconds:,.0f} s on {_markdown(machine)}, commit "
        f"{commit or 'not recorded'}{dirty}. Its [record]({link}) holds the whole configuration.\n",
        picture,
    ]
    for claim in record.claims:
        lines.append(f"### {_markdown(claim['id'])}: {_markdown(claim['verdict'])}\n")
        lines.append(f"{_markdown(claim['text'])} *{_markdown(claim['source'])}*\n")
        lines.append(
            f"Rule, fixed before the run. {_markdown(claim['rule'])} Outcome: {_markdown(claim['reason'])}.\n"
        )
        lines += ["| measured | mean and 95% interval | n |", "|---|---|---|"]
        for name, fields in claim["measured"].items():
            estimate = Estimate.from_dict(fields)
            lines.append(
                f"| {_markdown(words(name))} | {_markdown(estimate_text(estimate))} | {estimate.n} |"
            )
        lines.append("")
    return "\n".join(lines)


def _run_name(record: RunRecord) -> str:
    recipe, seeds = record.config.get("recipe"), len(record.seeds)
    return f"{record.study}{f' {recipe}' if recipe else ''}, {seeds} seed{'' if seeds == 1 else 's'}"


def _markdown(text: str) -> str:
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "_", "`", "["):
        text = text.replace(mark, f"\\{mark}")
    return text


def _text(text: str, style: str = "") -> Text:
    """Text of a file as it is: no markup is read, and no control character reaches the terminal."""
    return Text(printable(text), style=style)
