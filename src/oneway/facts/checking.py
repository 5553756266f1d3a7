"""Rows into facts: what rows mean, and everything that is wrong with them, the same for all formats."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from oneway.facts.fact import Fact, Relation
from oneway.facts.formats.form import FactFile, Form, RawRow, shown
from oneway.facts.problems import Findings, encodable

# Control characters, line and paragraph separators, halves of surrogate pairs, the byte order mark, and
# the mark that an earlier wrong decoding left behind. Joiners and writing-direction marks belong to names.
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffd]")
# A text may have tabs, line breaks and separators.
_NOT_IN_TEXTS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffd]")
_KNOWN = 20  # relations that a message names
_INTERNED = 100_000  # different objects that are held once however often they stand


@dataclass(slots=True)
class _Known:
    """What is known of one relation while rows come in; `name` is the one text that all its facts share.

    `subjects` says which fact has a subject, or, of several, which has which object; `objects`, kept where the
    relation is one-to-one, which fact has an object. Names are in their normal form.
    """

    name: str
    one_to_one: bool
    subjects: dict[str, int | dict[str, int]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)


class Ledger:
    """Facts as they come in, row by row and file by file, each beside those before it.

    Problems: empty cells, control characters, relations that `relations` does not have (None: not known yet,
    not checked), duplicates, and contradictions: in a one-to-one relation, a subject with two objects or an
    object with two subjects. Rows that differ in Unicode normalisation only are the same. Of the duplicates
    in a published data set one is kept, with all aliases, which is noted.
    """

    def __init__(self, relations: Mapping[str, Relation] | None, findings: Findings) -> None:
        self.facts: list[Fact] = []
        self._relations, self._findings = relations, findings
        self._known: dict[str, _Known] = {}
        self._texts: dict[str, str] = {}

    def enter(self, file: FactFile) -> None:
        """Every row of a file, as a fact or with what is wrong with it."""
        form, name = file.form, encodable(file.path.name)
        for row in file.rows:
            if form.cells == "names":
                row = _stripped(row)
            line, subject, relation, object, split, aliases, subject_aliases = row
            faults = _cell_faults(row, form)
            if faults:
                for fault in faults:
                    self._findings.problem(file.path, line, fault)
                continue
            known = self._known.get(relation) or self._new(relation)
            if self._relations is not None and relation not in self._relations:
                self._findings.problem(file.path, line, self._unknown(relation))
            source, keys = f"{name}:{line}", (_normal(subject), _normal(object))
            earlier = self._same(known, *keys)
            if earlier is not None:
                self._repeat(file, row, source, self.facts[earlier], earlier)
                continue
            if known.one_to_one:
                for fault in self._contradictions(known, row, source, *keys):
                    self._findings.problem(file.path, line, fault)
            object, split = self._once(object), self._once(split) if split else ""
            self.facts.append(Fact(subject, known.name, object, split, aliases, source, subject_aliases))

    def _new(self, relation: str) -> _Known:
        worded = (self._relations or {}).get(relation)
        known = _Known(relation, worded is not None and worded.one_to_one)
        alike = self._known.setdefault(_normal(relation), known)
        known.subjects, known.objects = alike.subjects, alike.objects
        self._known[relation] = known
        return known

    def _same(self, known: _Known, subject: str, object: str) -> int | None:
        """Which fact says this already; where none does, the next one will be known to."""
        number = len(self.facts)
        first = known.subjects.setdefault(subject, number)
        if first == number:
            return None
        if isinstance(first, int):
            earlier = _normal(self.facts[first].object)
            if earlier == object:
                return first
            first = known.subjects[subject] = {earlier: first}
        place = first.setdefault(object, number)
        return None if place == number else place

    def _repeat(self, file: FactFile, row: RawRow, source: str, fact: Fact, place: int) -> None:
        """A row that says again what a fact said before."""
        if not file.form.corpus:
            differs = (fact.subject, fact.object) != (row.subject, row.object)
            form_only = ", but for its Unicode form" * differs
            self._findings.problem(file.path, row.line, f"duplicate of {_place(fact, source)}{form_only}")
            return
        self._findings.note(
            "a fact that stands there already is kept once", f"{source} as {_place(fact, source)}"
        )
        if row.aliases or row.subject_aliases:
            self.facts[place] = replace(
                fact,
                aliases=tuple(dict.fromkeys((*fact.aliases, *row.aliases))),
                subject_aliases=tuple(dict.fromkeys((*fact.subject_aliases, *row.subject_aliases))),
            )

    def _contradictions(
        self, known: _Known, row: RawRow, source: str, subject: str, object: str
    ) -> Iterable[str]:
        """What facts of a one-to-one relation say against a new one."""
        number = len(self.facts)
        first, earlier = known.subjects[subject], known.objects.setdefault(object, number)
        if earlier == number and isinstance(first, int):
            return ()
        faults = []
        if isinstance(first, dict):
            fact = self.facts[next(iter(first.values()))]
            faults.append(
                f"contradicts {_place(fact, source)}: {shown(row.relation)} is one-to-one, and {shown(row.subject)} "
                f"has the object {shown(fact.object)} there, {shown(row.object)} here"
            )
        if earlier != number:
            fact = self.facts[earlier]
            faults.append(
                f"contradicts {_place(fact, source)}: {shown(row.relation)} is one-to-one, and {shown(row.object)} "
                f"has the subject {shown(fact.subject)} there, {shown(row.subject)} here"
            )
        return faults

    def _unknown(self, relation: str) -> str:
        known = list(self._relations or ())
        more = f" and {len(known) - _KNOWN} more" if len(known) > _KNOWN else ""
        return (
            f"unknown relation {shown(relation)}; there are templates for: "
            f"{', '.join(map(shown, known[:_KNOWN]))}{more}"
        )

    def _once(self, text: str) -> str:
        """The same text as one object in memory, however often it is read."""
        if len(self._texts) < _INTERNED:
            return self._texts.setdefault(text, text)
        return self._texts.get(text, text)


def _stripped(row: RawRow) -> RawRow:
    line, subject, relation, object, split, aliases, subject_aliases = row
    if aliases:
        aliases = tuple(map(str.strip, aliases))
    if subject_aliases:
        subject_aliases = tuple(map(str.strip, subject_aliases))
    subject, object = subject.strip(), object.strip()
    return RawRow(line, subject, relation.strip(), object, split.strip(), aliases, subject_aliases)


def _cell_faults(row: RawRow, form: Form) -> list[str]:
    _, subject, relation, object, split, aliases, subject_aliases = row
    whole = subject + relation + object + split
    filled = subject and relation and object and not aliases and not subject_aliases
    # Nearly every row: what can be printed holds nothing forbidden, but for one mark.
    if filled and form.cells == "names" and whole.isprintable() and "\ufffd" not in whole:
        return []
    faults = [
        f"{name} is empty"
        for name, cell in (("subject", subject), ("relation", relation), ("object", object))
        if not cell or cell.isspace()
    ]
    if "" in aliases or "" in subject_aliases:
        faults.append("an alias is empty")
    forbidden = _NOT_IN_NAMES if form.cells == "names" else _NOT_IN_TEXTS
    for cell in (subject, relation, object, split, *aliases, *subject_aliases):
        found = forbidden.search(cell)
        if found:
            faults.append(f"{shown(cell)} holds {_what(found.group())}")
    return faults


def _what(sign: str) -> str:
    code = f"U+{ord(sign):04X}"
    if sign in "\n\r\u2028\u2029":
        return f"a line break ({code}); a name is on one line"
    if sign == "\ufffd":
        return f"the mark of text that was decoded wrongly ({code})"
    return f"the character {code}, a control character or a sign of damaged text"


def _place(earlier: Fact, source: str) -> str:
    """Where an earlier fact stands, seen from another row: its line, with the file where it is another."""
    file, _, line = earlier.source.rpartition(":")
    return f"line {line}" if file == source.rpartition(":")[0] else earlier.source


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
