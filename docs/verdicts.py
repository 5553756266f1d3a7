"""Writes the README's table of verdicts from the records in docs/records: no verdict is typed by hand.

python docs/verdicts.py            rewrite the table
python docs/verdicts.py RUN NAME   first take the record of a finished run as docs/records/NAME.json
"""

import sys
from pathlib import Path

from oneway.evidence import RunRecord
from oneway.report.tables import verdict_table_markdown

HERE = Path(__file__).parent
README, RECORDS = HERE.parent / "README.md", HERE / "records"
START, END = "<!-- verdicts: written by docs/verdicts.py -->\n", "<!-- end of verdicts -->"


def with_verdicts(readme: str) -> str:
    """The README with its table written anew from the records."""
    records = {
        f"docs/records/{file.name}": RunRecord.from_json(file.read_text(encoding="utf-8"))
        for file in sorted(RECORDS.glob("*.json"))
    }
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return before + START + verdict_table_markdown(records) + END + after


if __name__ == "__main__":
    if len(sys.argv) == 3:
        record = RunRecord.from_json((Path(sys.argv[1]) / "record.json").read_text(encoding="utf-8"))
        RECORDS.mkdir(exist_ok=True)
        (RECORDS / f"{sys.argv[2]}.json").write_text(record.to_json() + "\n", encoding="utf-8")
    README.write_text(with_verdicts(README.read_text(encoding="utf-8")), encoding="utf-8")
