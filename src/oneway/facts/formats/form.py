"""What a container gives, what a form makes of it: records, rows, and a file that has been opened."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from oneway.facts.fact import Relation
from oneway.facts.problems import Findings

Record = tuple[int, Mapping[str, Any]]  # the line on which it begins, and its values by key


class RawRow(NamedTuple):
    """A fact as the file has it; what is absent is empty."""

    line: int
    subject: str
    relation: str
    object: str
    split: str = ""
    aliases: tuple[str, ...] = ()
    subject_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose container is known: its keys, and its records, which can be gone through again.

    `header` is the line that names the keys of all rows, None where every record names its own and `keys`
    are those of the first. Going through the records tells what is wrong with the container.
    """

    file: Path
    keys: tuple[str, ...]
    header: int | None
    records: Callable[[Findings], Iterator[Record]]


def no_relations(records: Iterable[Record]) -> dict[str, Relation]:
    """For forms that carry no templates."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the records of a file mean. It is told by `keys`, which are all there.

    `read` are the keys that are read; others are noted, with `unread`, what there is to say about them.
    `corpus` names a published data set, whose exact duplicates are kept once; in a table of one's own ("")
    they are an error. Its cells are `names`, where surrounding space means nothing and a line break is a
    fault, or `texts`, which are taken as they are.
    """

    keys: frozenset[str]
    read: frozenset[str]
    rows: Callable[[Path, Iterable[Record], Findings], Iterator[RawRow]]
    relations: Callable[[Iterable[Record]], dict[str, Relation]] = no_relations
    corpus: str = ""
    unread: str = ""
    cells: Literal["names", "texts"] = "names"


@dataclass(frozen=True, slots=True)
class FactFile:
    """A file ready to be read: its rows, to be gone through once, and the relations that it words itself."""

    path: Path
    form: Form
    rows: Iterator[RawRow]
    relations: Mapping[str, Relation] = field(default_factory=dict)


def text_of(record: Mapping[str, Any], key: str) -> str | None:
    """The text under a key, empty where it is null; None where it is no text."""
    value = record.get(key)
    return "" if value is None else value if isinstance(value, str) else None


def shown(value: Any, limit: int = 60) -> str:
    """A value for a message: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
