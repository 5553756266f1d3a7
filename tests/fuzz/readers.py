"""Any bytes into every reader of facts: a table, or a complaint with a place; never a traceback.

`make fuzz` lets a coverage-guided fuzzer (atheris) run this for ten minutes and keeps the inputs that reach new
code in `corpus/`; `test_corpus` replays them in every test run. An input's first line names the ending of the file
and whether a TOML of relations comes with it; the rest is the file.
"""

from pathlib import Path

import oneway.facts as facts

TOML = """\
[plays]
forward = ["{subject} plays {object}"]
reverse = ["{object} is played by {subject}"]

["mother of"]
forward = ["{subject} is the mother of {object}"]
one_to_one = true
"""
KINDS = (
    "csv",
    "tsv",
    "jsonl",
    "json",
    "parquet",
    "toml",
    "csv+toml",
    "tsv+toml",
    "jsonl+toml",
    "parquet+toml",
)
COMPLAINTS = (facts.FactErrors, facts.RelationsMissing)
LONGEST_MESSAGE = 100_000


def try_readers(data: bytes, folder: Path) -> str:
    """Read one input in `folder`; returns what came of it: "table", "complaint" or "no kind".

    Raises AssertionError where a table or a complaint is not what it must be; whatever else is raised is a bug.
    """
    kind, _, content = data.partition(b"\n")
    if kind.decode("latin-1") not in KINDS:
        return "no kind"
    suffix, _, worded = kind.decode().partition("+")
    toml = folder / "relations.toml"
    if suffix == "toml":
        toml.write_bytes(content)
        file = folder / "facts.csv"
        file.write_text("subject,relation,object\na,plays,b\n", encoding="utf-8")
    else:
        toml.write_text(TOML, encoding="utf-8")
        file = folder / f"facts.{suffix}"
        file.write_bytes(content)
    try:
        table = facts.read_facts(file, toml if worded or suffix == "toml" else None)
    except COMPLAINTS as complaint:
        _must_have_a_place(complaint, folder)
        return "complaint"
    _must_be_usable(table)
    return "table"


def _must_have_a_place(complaint: Exception, folder: Path) -> None:
    assert str(complaint).strip()
    assert len(str(complaint)) < LONGEST_MESSAGE
    for problem in getattr(complaint, "problems", ()):
        assert Path(problem.file).parent == folder
        assert problem.line >= 1
        assert problem.reason
    str(complaint).encode("utf-8", errors="strict")  # it can be printed


def _must_be_usable(table: facts.FactTable) -> None:
    assert len(table) > 0
    for fact in table:
        assert fact.subject
        assert fact.relation in table.relations
        assert fact.object
        assert fact.source.startswith("facts.")
    for question in facts.questions(table):
        assert question.answer.strip()
        (question.prompt + question.answer).encode("utf-8", errors="strict")
