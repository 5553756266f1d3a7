"""A table as what a lookup has to do: questions in tokens, names to recognise, answers to say.

A *form* is a template in tokens: what stands before the name and what stands after it, up to the answer. A *channel* is
what a form asks for, one for each relation and direction. An *entry* is one association: name and channel → answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from oneway.compiler.refusal import CompileError
from oneway.compiler.tokenizer import SPACE, SPECIAL, text_tokens, word_of
from oneway.facts import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import Template, parse

Words = tuple[str, ...]
_STAND_IN = "x"  # a name in a template whose tokens are looked for


@dataclass(frozen=True, slots=True)
class Form:
    """One template in tokens. `spaced`: the answer begins with a space."""

    channel: str
    before: Words
    after: Words
    spaced: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One association: `name` in words, `answer` in tokens, `facts` by their row in the table."""

    name: Words
    channel: str
    answer: Words
    facts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Everything that is to be compiled. `vocabulary` begins with the special tokens."""

    forms: tuple[Form, ...]
    entries: tuple[Entry, ...]
    vocabulary: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(form.channel for form in self.forms))

    @property
    def longest_name(self) -> int:
        return max(len(entry.name) for entry in self.entries)

    @property
    def longest_answer(self) -> int:
        return max(len(entry.answer) for entry in self.entries)


def channel_name(relation: str, direction: Direction) -> str:
    """What a relation asks for in a direction."""
    return relation if direction is Direction.FORWARD else f"{relation}, in reverse"


def plan(table: FactTable, directions: Sequence[Direction] = (Direction.FORWARD,)) -> Lookup:
    """The lookup that answers every question of a table in these directions (forward; or forward and reverse).

    Raises CompileError with every reason why there is none: templates that ask before they name, that run into
    the name or leave no word after it; names and answers that tokens cannot tell apart or give back; one question
    with two answers.
    """
    reasons: list[str] = []
    forms = [
        form
        for name in dict.fromkeys(fact.relation for fact in table)
        for direction in directions
        for form in _forms(table.relations[name], direction, reasons)
    ]
    forms = list(dict.fromkeys(forms))
    entries = _entries(table, directions, forms, reasons)
    if not entries and not reasons:
        reasons.append("there are no facts to compile")
    if reasons:
        raise CompileError(reasons)
    reasons += _contradictions(forms, entries, table)
    if reasons:
        raise CompileError(reasons)
    return Lookup(tuple(forms), tuple(entries), _vocabulary(table, forms, entries), tuple(_notes(table)))


def _forms(relation: Relation, direction: Direction, reasons: list[str]) -> Iterator[Form]:
    forward = direction is Direction.FORWARD
    templates = relation.forward if forward else relation.reverse
    where = f"relation {relation.name!r}, {direction.value} template"
    if not templates:
        reasons.append(f"relation {relation.name!r} has no {direction.value} template: add one to its TOML")
    spaced = set()
    for template in templates:
        cut = parse(template)
        if cut.subject_first != forward:
            reasons.append(
                f"{where} {template!r} asks before it names: put the {'subject' if forward else 'object'} first"
            )
            continue
        form = _form(channel_name(relation.name, direction), cut)
        if form is None:
            reasons.append(
                f"{where} {template!r}: the name runs into the text beside it; put a space or a sign there"
            )
        elif not form.after:
            reasons.append(
                f"{where} {template!r} has no word between the slots: the lookup needs one to read at"
            )
        else:
            spaced.add(form.spaced)
            yield form
    if len(spaced) > 1:
        reasons.append(
            f"{where}s differ in the space before the answer, which is part of its first token: give all one"
        )


def _form(channel: str, cut: Template) -> Form | None:
    """A template in tokens; None where the name's tokens would depend on the text around them."""
    tokens = text_tokens(cut.before + _STAND_IN + cut.between)
    before = text_tokens(cut.before)
    at = len(before)
    if tokens[:at] != before or len(tokens) == at or word_of(tokens[at]) != _STAND_IN:
        return None
    spaced = cut.between.endswith(" ") or not cut.between
    answered = text_tokens(cut.before + _STAND_IN + cut.between + _STAND_IN)
    if answered[: len(tokens)] != tokens or len(answered) != len(tokens) + 1:
        return None
    return Form(channel, before, tokens[at + 1 :], spaced)


def _entries(
    table: FactTable, directions: Sequence[Direction], forms: Sequence[Form], reasons: list[str]
) -> list[Entry]:
    spaced = {form.channel: form.spaced for form in forms}
    tokens = {name: text_tokens(name) for fact in table for name in (fact.subject, fact.object)}
    for name, own in tokens.items():
        if any(special in name for special in SPECIAL) or SPACE in name:
            reasons.append(f"the name {name!r} holds a sign of the tokenizer's own: write it otherwise")
        elif "".join(own).replace(SPACE, " ")[1:] != name:
            reasons.append(f"the name {name!r} is not what its tokens give back: single spaces only")
    found: dict[tuple[str, Words], tuple[Words, list[int]]] = {}
    for row, fact in enumerate(table):
        for direction in directions:
            given, asked = fact.subject, fact.object
            if direction is not Direction.FORWARD:
                given, asked = asked, given
            channel = channel_name(fact.relation, direction)
            answer = tokens[asked]
            if not spaced.get(channel, True):
                answer = (word_of(answer[0]), *answer[1:])
            words = tuple(map(word_of, tokens[given]))
            known, rows = found.setdefault((channel, words), (answer, []))
            if known != answer:
                reasons.append(_two_answers(table, rows[0], row, direction))
            rows.append(row)
    return [Entry(name, channel, answer, tuple(rows)) for (channel, name), (answer, rows) in found.items()]


def _two_answers(table: FactTable, first: int, second: int, direction: Direction) -> str:
    one, other = table.facts[first], table.facts[second]
    given, answers = (one.subject, other.subject), (one.object, other.object)
    if direction is not Direction.FORWARD:
        given, answers = answers, given
    asked = f"{other.relation!r}, asked {direction.value} of {given[1]!r}, has the answers"
    same = "" if given[0] == given[1] else f" ({given[0]!r} is the same to the tokenizer)"
    way_out = (
        "keep one" if direction is Direction.FORWARD else "keep one, or compile the forward questions alone"
    )
    return f"{_place(other, second)}: {asked} {answers[0]!r} and {answers[1]!r}{same}: {way_out}"


def _contradictions(forms: Sequence[Form], entries: Sequence[Entry], table: FactTable) -> Iterator[str]:
    """Two relations that ask with the same words, of one name, for different answers."""
    channels: dict[tuple[Words, Words], dict[str, None]] = defaultdict(dict)
    for form in forms:
        channels[form.before, form.after][form.channel] = None
    together = {tuple(found) for found in channels.values() if len(found) > 1}
    if not together:
        return
    of_name: dict[Words, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        of_name[entry.name][entry.channel] = entry
    for name, known in of_name.items():
        for group in together:
            same = [known[channel] for channel in group if channel in known]
            for entry in same[1:]:
                if entry.answer != same[0].answer:
                    fact, row = table.facts[entry.facts[0]], entry.facts[0]
                    yield (
                        f"{_place(fact, row)}: {' '.join(name)!r} is asked with the same words for "
                        f"{same[0].channel!r} and {entry.channel!r}, which have different answers: "
                        "word one of them otherwise, or keep one"
                    )


def _place(fact: Fact, row: int) -> str:
    return fact.source or f"row {row + 1}"


def _vocabulary(table: FactTable, forms: Iterable[Form], entries: Iterable[Entry]) -> tuple[str, ...]:
    """Every token of the facts and of all templates; names may also begin behind a sign, without a space."""
    names = dict.fromkeys(name for fact in table for name in (fact.subject, fact.object))
    words: dict[str, None] = dict.fromkeys(chain.from_iterable(map(text_tokens, names)))
    words |= dict.fromkeys(word_of(text_tokens(name)[0]) for name in names)
    words |= dict.fromkeys(chain.from_iterable((*form.before, *form.after) for form in forms))
    words |= dict.fromkeys(chain.from_iterable(entry.answer for entry in entries))
    for relation in _used(table).values():
        for template in (*relation.forward, *relation.reverse):
            cut = parse(template)
            words |= dict.fromkeys(text_tokens(f"{cut.before} {cut.between} {cut.after}"))
        words |= dict.fromkeys(chain.from_iterable(map(text_tokens, relation.one_shot)))
    return (*SPECIAL, *sorted(words.keys() - set(SPECIAL)))


def _used(table: FactTable) -> Mapping[str, Relation]:
    return {name: table.relations[name] for name in dict.fromkeys(fact.relation for fact in table)}


def _notes(table: FactTable) -> Iterator[str]:
    others = sum(bool(fact.aliases) for fact in table), sum(bool(fact.subject_aliases) for fact in table)
    for count, kind in zip(others, ("object", "subject"), strict=True):
        if count:
            yield f"{count:,} facts have aliases of the {kind}, which are not compiled"
