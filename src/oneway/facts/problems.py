"""What is wrong in a file of facts, all of it at once, each with file, line and reason; and what is to be said."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SHOWN = 50
KEPT = 1000  # problems that are held in memory; all are counted
PLACES = 20  # places that a note names; all are counted


def encodable(text: str) -> str:
    """A text with halves of surrogate pairs written as escapes: it can be printed and saved.

    They come from files' names that are not UTF-8, and from escapes in JSON.
    """
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file; `line` counts from 1 (in a Parquet file it is the row)."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class FactErrors(ValueError):
    """A file of facts that cannot be used. `problems` holds the first 1,000, the message the first 50.

    `count` is the number of all.
    """

    def __init__(self, problems: Iterable[Problem], count: int | None = None) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.count = len(self.problems) if count is None else count
        lines = [f"{self.count:,} problem{'' if self.count == 1 else 's'} in the facts; nothing was read:"]
        lines += [f"  {problem}" for problem in self.problems[:SHOWN]]
        if self.count > SHOWN:
            lines.append(f"  … and {self.count - SHOWN:,} more")
        super().__init__(encodable("\n".join(lines)))


class RelationsMissing(ValueError):
    """A table whose relations have no templates. `stub` is a TOML ready to fill; so is the message."""

    def __init__(self, file: str, stub: str) -> None:
        self.stub = stub
        super().__init__(
            f"# {file} says which facts there are, not how they are put into words.\n"
            f"# Fill in the templates below, save them as a .toml file and give it as the relations.\n{stub}"
        )


@dataclass(slots=True)
class _Note:
    """What was noted of some rows or files: how many, and the first places."""

    count: int = 0
    places: list[str] = field(default_factory=list)


class Findings:
    """What is found while files are read: every problem counted, the first ones kept, and notes."""

    def __init__(self) -> None:
        self.count = 0
        self._problems: list[Problem] = []
        self._notes: dict[str, _Note] = {}

    def problem(self, file: str | Path, line: int, reason: str) -> None:
        """Something is wrong on a line; the facts cannot be used."""
        self.count += 1
        if len(self._problems) < KEPT:
            self._problems.append(Problem(str(file), line, reason))

    def problems(self, problems: Iterable[Problem]) -> None:
        """Everything in a list is wrong."""
        for problem in problems:
            self.problem(problem.file, problem.line, problem.reason)

    def include(self, other: "Findings") -> None:
        """Everything that was found elsewhere, once more here."""
        self.problems(other._problems)
        self.count += other.count - len(other._problems)

    def note(self, text: str, place: str) -> None:
        """Something that is no fault, but that the reader of the facts should know; one text, many places."""
        note = self._notes.setdefault(encodable(text), _Note())
        note.count += 1
        if len(note.places) < PLACES:
            note.places.append(encodable(place))

    def raise_problems(self) -> None:
        """Raises FactErrors where anything is wrong: first in the templates, then file by file and line by line."""
        if self.count:
            by_place = sorted(self._problems, key=lambda p: (not p.file.endswith(".toml"), p.file, p.line))
            raise FactErrors(by_place, self.count)

    def notes(self) -> tuple[str, ...]:
        """Every note with its places: "3 times: a text (f.csv:5, f.csv:9, …)"."""
        return tuple(
            f"{f'{note.count:,} times: ' * (note.count > 1)}{text} "
            f"({', '.join(note.places)}{', …' * (note.count > len(note.places))})"
            for text, note in self._notes.items()
        )
