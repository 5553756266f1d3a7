"""Names that a tokenizer cannot tell apart: which ones, and where they stand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from oneway.facts import Fact, FactTable
from oneway.recall.scorer import Tokens
from oneway.recall.spans import Splitter

ALIKE = "names whose tokens are also those of another name"


@dataclass(frozen=True, slots=True)
class Name:
    """A name of a relation's subjects or objects: what it stands for, and the first fact that has it."""

    text: str
    entity: str
    source: str


@dataclass(frozen=True, slots=True)
class Alike:
    """By (relation, name): what is to be said of a name whose tokens are also another's."""

    subjects: Mapping[tuple[str, str], str]
    objects: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, table: FactTable, splitter: Splitter) -> "Alike":
        """Compare the subjects of each relation, and its objects, as they are spelled after a word.

        Spellings of one and the same entity (aliases) may be alike, and names with special or unknown tokens are
        flagged as such.
        """
        subjects = (
            (f.relation, Name(name, f.subject, f.source))
            for f in table
            for name in (f.subject, *f.subject_aliases)
        )
        objects = (
            (f.relation, Name(name, f.object, f.source)) for f in table for name in (f.object, *f.aliases)
        )
        return cls(_alike(subjects, splitter), _alike(objects, splitter))

    def flags(self, fact: Fact) -> tuple[str, ...]:
        """What is to be said of a fact's subject and object."""
        found = (
            self.subjects.get((fact.relation, fact.subject)),
            self.objects.get((fact.relation, fact.object)),
        )
        return tuple(flag for flag in found if flag)


def unnamed(flags: pl.Series) -> pl.Series:
    """The flags of those rows that have any, without the names in them, so that they can be counted."""
    return flags.filter(flags != "").str.replace(r"(?s)(^|; )the name .*$", f"${{1}}{ALIKE}")


def _alike(names: Iterable[tuple[str, Name]], splitter: Splitter) -> dict[tuple[str, str], str]:
    distinct: dict[tuple[str, str], Name] = {}
    for relation, name in names:
        distinct.setdefault((relation, name.text), name)
    texts = list(dict.fromkeys(text for _, text in distinct))
    tokens = dict(zip(texts, splitter.names(texts), strict=True))
    groups: dict[tuple[str, Tokens], list[Name]] = {}
    for (relation, text), name in distinct.items():
        own = tokens[text]
        if own is not None:
            groups.setdefault((relation, own), []).append(name)
    found: dict[tuple[str, str], str] = {}
    for (relation, _), group in groups.items():
        for name in group if len({name.entity for name in group}) > 1 else ():
            found[relation, name.text] = _said(
                name, [other for other in group if other.entity != name.entity]
            )
    return found


def _said(name: Name, others: Sequence[Name]) -> str:
    where = f" ({others[0].source})" if others[0].source else ""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"the name {name.text!r}: its tokens are also those of {others[0].text!r}{where}{more}"
