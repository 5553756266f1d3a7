"""Files into a checked table of facts: every problem is reported at once, nothing is dropped silently."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oneway.facts.checking import check
from oneway.facts.fact import FactTable, Relation
from oneway.facts.problems import FactErrors, Problem, RelationsMissing
from oneway.facts.relations import lre_relations, no_relations, read_relations, relations_stub
from oneway.facts.rows import RawRow, RowReader, csv_rows, jsonl_rows, lre_rows, tsv_rows


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: how its rows are read, and the relations that it words itself, if any."""

    rows: RowReader
    relations: Callable[[Path], dict[str, Relation]] = no_relations


FORMATS: Mapping[str, Format] = {
    ".csv": Format(csv_rows),
    ".tsv": Format(tsv_rows),
    ".jsonl": Format(jsonl_rows),
    ".json": Format(lre_rows, lre_relations),
}


def read_facts(path: str | Path, relations: str | Path | None = None) -> FactTable:
    """The facts of a file, checked.

    Formats, told by the file's ending: CSV, TSV and JSONL with subject, relation, object (and split,
    aliases, if wanted); LRE JSON, one file or a directory of them. `relations` is a TOML of templates;
    LRE files word their relation themselves, and a TOML adds to it (reverse templates, for instance).
    Whitespace around a cell is not part of it; names are otherwise taken as they are.

    Raises FactErrors with every problem of all files; RelationsMissing, whose text is a TOML to fill in,
    where nothing words the relations; ValueError where the path or its format is not known.
    """
    files = _files(Path(path))
    rows: list[RawRow] = []
    row_problems: list[Problem] = []
    for file in files:
        for row in _format_of(file).rows(file):
            if isinstance(row, Problem):
                row_problems.append(row)
            else:
                rows.append(row)
    worded, wording_problems = _worded(files, relations)
    # Where the templates could not be read, it is not known which relations there are.
    facts, fact_problems = check(rows, None if wording_problems or not worded else worded)
    problems = {*row_problems, *wording_problems, *fact_problems}
    if not rows and not problems:
        problems.add(Problem(str(path), 1, "there are no facts in it"))
    if problems:
        raise FactErrors(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.reason)))
    if not worded:
        raise RelationsMissing(str(path), relations_stub(fact.relation for fact in facts))
    return FactTable(facts=tuple(facts), relations=worded)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        if not files:
            raise ValueError(
                f"the directory {path} holds no .json file; a directory is read as LRE relations"
            )
        return files
    if not path.exists():
        raise ValueError(f"there is no file of facts {path}")
    return [path]


def _format_of(file: Path) -> Format:
    try:
        return FORMATS[file.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"{file}: the format is told by the file's ending; known: {known}") from None


def _worded(files: Iterable[Path], toml: str | Path | None) -> tuple[dict[str, Relation], list[Problem]]:
    """The relations that the files word themselves, with those of the TOML, and what is wrong in either."""
    worded: dict[str, Relation] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            for name, relation in _format_of(file).relations(file).items():
                if worded.setdefault(name, relation) != relation:
                    reason = f"relation {name!r} has other templates in another file of this directory"
                    problems.append(Problem(str(file), 1, reason))
        except FactErrors as error:
            problems += error.problems
    if toml is not None:
        if not Path(toml).is_file():
            raise ValueError(f"there is no file of relations {toml}")
        try:
            worded = read_relations(toml, worded)
        except FactErrors as error:
            problems += error.problems
    return worded, problems
