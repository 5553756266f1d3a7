"""The words of the domain: a fact, a relation, a table of facts, and the directions in which one asks."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property


class Direction(StrEnum):
    """Which way a fact is asked."""

    FORWARD = "forward"  # subject given, object asked
    REVERSE = "reverse"  # object given, subject asked
    IN_CONTEXT = "in_context"  # the forward sentence stands in the prompt, then the reverse question


SUBJECT_SLOT = "{subject}"
OBJECT_SLOT = "{object}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry of the lookup: (subject, relation, object).

    `split` is a free label that groups facts in every table and figure (for instance how a fact was
    trained); `aliases` are other accepted spellings of the object, `subject_aliases` of the subject; `source`
    says where the fact was read ("facts.csv:12").
    """

    subject: str
    relation: str
    object: str
    split: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""
    subject_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """How a relation is put into words.

    `forward` templates ask for the object ("{subject} plays the sport of {object}"), `reverse` templates
    ask for the subject ("{object} is the sport played by {subject}"); both hold each slot exactly once and
    are paired by index for in-context questions. `inverse` names the relation that the reverse direction
    states, `one_to_one` says that a subject has one object and an object one subject, `one_shot` holds
    prefixes that may stand before a forward prompt. `bridge` templates say `{subject}` twice and are true of every
    subject, the object standing there as what it is to the subject ("The mother of {subject} is the mother of
    {subject}").
    """

    name: str
    forward: tuple[str, ...]
    reverse: tuple[str, ...] = ()
    inverse: str = ""
    one_to_one: bool = False
    one_shot: tuple[str, ...] = ()
    bridge: tuple[str, ...] = ()


@dataclass(frozen=True)
class FactTable:
    """Facts with the relations that put them into words. Immutable: selections return new tables.

    `notes` is what reading them had to say that is no fault: columns not read, facts kept once, and so on.
    """

    facts: tuple[Fact, ...]
    relations: Mapping[str, Relation] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def select(self, *, split: str | None = None, relation: str | None = None) -> "FactTable":
        """The facts of one split and/or one relation, in their order."""
        kept = tuple(
            fact
            for fact in self.facts
            if (split is None or fact.split == split) and (relation is None or fact.relation == relation)
        )
        return replace(self, facts=kept)

    def with_facts(self, facts: Iterable[Fact]) -> "FactTable":
        """The same relations over other facts."""
        return replace(self, facts=tuple(facts))

    def joined(self, *others: "FactTable") -> "FactTable":
        """This table and others, one after the other.

        Raises ValueError where two tables put one relation into different words.
        """
        relations = dict(self.relations)
        for other in others:
            for name, relation in other.relations.items():
                if relations.setdefault(name, relation) != relation:
                    raise ValueError(f"relation {name!r} has different templates in the tables to be joined")
        facts = self.facts + tuple(fact for other in others for fact in other.facts)
        notes = dict.fromkeys(note for table in (self, *others) for note in table.notes)
        return FactTable(facts=facts, relations=relations, notes=tuple(notes))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of every fact and of the words of every relation: tables with equal ones ask the same."""
        digest = hashlib.sha256()
        for part in (*self.facts, *sorted(self.relations.items())):
            digest.update(repr(part).encode(errors="backslashreplace"))
        return digest.hexdigest()

    @cached_property
    def objects_of(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """(subject, relation) → every right object, in the order of the table, aliases included."""
        return _grouped(
            ((fact.subject, fact.relation), answer)
            for fact in self.facts
            for answer in (fact.object, *fact.aliases)
        )

    @cached_property
    def subjects_of(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """(object, relation) → every right subject, in the order of the table, aliases included."""
        return _grouped(
            ((fact.object, fact.relation), answer)
            for fact in self.facts
            for answer in (fact.subject, *fact.subject_aliases)
        )


def _grouped(pairs: Iterable[tuple[tuple[str, str], str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for key, value in pairs:
        groups.setdefault(key, {})[value] = None
    return {key: tuple(values) for key, values in groups.items()}
