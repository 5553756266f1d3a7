"""Writes what the docs say of runs from the records in docs/records: no verdict and no number is typed by hand.

python docs/verdicts.py            rewrite the README's overview, the table of all claims and the page of every study
python docs/verdicts.py RUN NAME   first take the record and the picture of a finished run as docs/records/NAME
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from oneway.evidence import RunRecord
from oneway.report.tables import verdict_overview_markdown, verdict_page_markdown, verdict_table_markdown
from oneway.studies import STUDIES

HERE = Path(__file__).parent
README, RECORDS, PAGES = HERE.parent / "README.md", HERE / "records", HERE / "studies"
CLAIMS = HERE / "claims.md"
START, END = "<!-- verdicts: written by docs/verdicts.py -->\n", "<!-- end of verdicts -->"


def read_records() -> dict[str, RunRecord]:
    """The committed records by the names of their files."""
    files = sorted(RECORDS.glob("*.json"))
    return {file.stem: RunRecord.from_json(file.read_text(encoding="utf-8")) for file in files}


def with_verdicts(readme: str) -> str:
    """The README with its overview written anew from the records."""
    records = [
        (
            f"docs/studies/{record.study}.md" if record.study in STUDIES else f"docs/records/{name}.json",
            record,
        )
        for name, record in read_records().items()
    ]
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return before + START + verdict_overview_markdown(records) + END + after


def all_claims() -> str:
    """Every claim of every record, with what was claimed and measured."""
    records = {f"records/{name}.json": record for name, record in read_records().items()}
    head = "<!-- written by docs/verdicts.py -->\n# Every claim, by run\n\n"
    return head + verdict_table_markdown(records)


def pages() -> dict[str, str]:
    """The page of every study that has a record, by its file's name: what it asks, how, and what came out."""
    records = read_records()
    written = {}
    for study, module in STUDIES.items():
        found = {name: record for name, record in records.items() if record.study == study}
        if found:
            written[f"{study}.md"] = _page(study, import_module(module).__doc__ or "", found)
    return written


def _page(study: str, methods: str, records: Mapping[str, RunRecord]) -> str:
    summary, _, rest = methods.strip().partition("\n\n")
    parts = [
        f"<!-- written by docs/verdicts.py -->\n# `{study}`\n\n**{' '.join(summary.split())}**\n\n{rest.strip()}\n"
    ]
    for name, record in records.items():
        picture = RECORDS / f"{name}.png"
        shown = f"![{record.title}](../records/{name}.png)\n\n" if picture.exists() else ""
        parts.append(verdict_page_markdown(record, f"../records/{name}.json", shown))
    return "\n".join(parts)


def take(run: Path, name: str) -> None:
    """Copy a finished run's record, and its first PNG, to docs/records."""
    record = RunRecord.from_json((run / "record.json").read_text(encoding="utf-8"))
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(record.to_json() + "\n", encoding="utf-8")
    pictures = [file for file in record.figures.values() if file.endswith(".png")]
    if pictures:
        (RECORDS / f"{name}.png").write_bytes((run / pictures[0]).read_bytes())


if __name__ == "__main__":
    if len(sys.argv) == 3:
        take(Path(sys.argv[1]), sys.argv[2])
    README.write_text(with_verdicts(README.read_text(encoding="utf-8")), encoding="utf-8")
    CLAIMS.write_text(all_claims(), encoding="utf-8")
    PAGES.mkdir(exist_ok=True)
    for file, text in pages().items():
        (PAGES / file).write_text(text, encoding="utf-8")
