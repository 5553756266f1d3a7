"""Files into a checked table of facts: every problem is reported at once, nothing is dropped silently."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from oneway.facts.checking import Ledger
from oneway.facts.fact import FactTable, Relation
from oneway.facts.formats.form import FactFile
from oneway.facts.formats.opening import open_file
from oneway.facts.problems import FactErrors, Findings, RelationsMissing
from oneway.facts.relations import read_relations, relations_stub


def read_facts(path: str | Path, relations: str | Path | None = None) -> FactTable:
    """The facts of a file, checked.

    Formats, told by the file's ending and its keys: a table of one's own with subject, relation, object (and
    split, aliases, subject_aliases, if wanted) as CSV, TSV, JSON, JSON lines or Parquet; CounterFact and
    known_1000; PopQA; the celebrities of the reversal curse; prompts with completions; LRE, one file or a
    directory of them. `relations` is a TOML of templates; published files word their relations themselves,
    and a TOML adds to it (reverse templates, for instance). Space around a name is not part of it.

    What is no fault but good to know stands in the table's `notes`: columns that were not read, facts of
    published files that stand there twice and are kept once, texts that were decoded.

    Raises FactErrors with every problem of all files; RelationsMissing, whose text is a TOML to fill in,
    where nothing words the relations; ValueError where the path or its format is not known.
    """
    findings = Findings()
    files = [file for file in (open_file(file, findings) for file in _files(Path(path), findings)) if file]
    worded = _worded(files, relations, findings)
    # Where the templates could not be read, it is not known which relations there are.
    ledger = Ledger(worded or None, findings)
    with _no_collection():
        for file in files:
            ledger.enter(file)
    if not findings.count:
        if not ledger.facts:
            findings.problem(path, 1, "there are no facts in it")
        for name, relation in (worded or {}).items():
            if not relation.forward:
                findings.problem(path, 1, f"nothing in it puts the relation {name!r} into words")
    findings.raise_problems()
    facts = tuple(ledger.facts)
    if not worded:
        raise RelationsMissing(str(path), relations_stub(fact.relation for fact in facts))
    return FactTable(facts=facts, relations=worded, notes=findings.notes())


@contextmanager
def _no_collection() -> Iterator[None]:
    """Facts make no cycles: to look for garbage among them again and again would take a quarter of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _files(path: Path, findings: Findings) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"there is no file of facts {path}")
        return [path]
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    files = [file for file in inside if file.suffix.lower() == ".json" and not file.name.startswith(".")]
    for file in inside:
        if file not in files:
            findings.note("a directory is read as LRE relations, .json files only; not read", file.name)
    if not files:
        raise ValueError(f"the directory {path} holds no .json file; a directory is read as LRE relations")
    return files


def _worded(
    files: Sequence[FactFile], toml: str | Path | None, findings: Findings
) -> dict[str, Relation] | None:
    """The relations that the files word themselves, with those of the TOML; None where these cannot be read."""
    worded: dict[str, Relation] = {}
    wrong = False
    for file in files:
        for name, relation in file.relations.items():
            if worded.setdefault(name, relation) != relation:
                fault = f"relation {name!r} has other templates in another file of this directory"
                findings.problem(file.path, 1, fault)
                wrong = True
    if toml is not None:
        if not Path(toml).is_file():
            raise ValueError(f"there is no file of relations {toml}")
        try:
            worded = read_relations(toml, worded)
        except FactErrors as error:
            findings.problems(error.problems)
            wrong = True
    return None if wrong else worded
