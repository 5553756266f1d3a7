"""Remedies that write a sentence once more in another order of its words: R2 and R3.

Order carries meaning: `Ann loves Bob` read backwards is another fact, and most likely a false one. An order in which
the words between the names join the names the other way round is never written.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oneway.facts import Direction, FactTable
from oneway.remedies.example import Drawn, Example, whole
from oneway.remedies.statements import Statement, reads_as_statement, statements

TRIES = 100  # segmentations that are drawn for one sentence


@dataclass(frozen=True, slots=True)
class Part:
    """Words that stay together, and where they stand: in the first name, between the names, in the second, outside."""

    words: tuple[str, ...]
    place: int


FIRST, BETWEEN, SECOND, OUTSIDE = range(4)


def reverse_words(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`Lee Mary of son the is Lee Tom.` Raises ValueError where that would state another fact."""

    def rewritten(told: Statement) -> list[Part]:
        return list(reversed(single_words(told)))

    return _rewritten(table, rewritten)


def reverse_entities(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`Mary Lee of son the is Tom Lee.` Raises ValueError where that would state another fact."""

    def rewritten(told: Statement) -> list[Part]:
        first, between, second, before, after = _cut(told)
        parts = [*before, _joined(first), *between, _joined(second), *after]
        return [part for part in reversed(parts) if part.words]

    return _rewritten(table, rewritten)


def reverse_segments(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """Segments of 1 to `drawn.segment` words, each in its own order, the last one first.

    Drawn again where the order would state another fact; raises ValueError where every draw does.
    """
    rng = drawn.generator()

    def rewritten(told: Statement) -> list[Part]:
        for _ in range(TRIES):
            words, segments = single_words(told), list[list[Part]]()
            while words:
                length = int(rng.integers(1, drawn.segment + 1))
                segments.append(words[:length])
                words = words[length:]
            found = [word for segment in reversed(segments) for word in segment]
            if not misread(found, told, table):
                break
        return found

    return _rewritten(table, rewritten)


def permute_chunks(table: FactTable, drawn: Drawn) -> Iterator[Example]:
    """`Mary Lee Tom Lee is the son of.` and `is the son of Mary Lee Tom Lee.`

    Of the six orders of first name, words between and second name, those two in which the second name comes before the
    first and the words between keep one of their neighbours: the others read as if the names were exchanged.
    """

    def of(told: Statement) -> Iterator[list[Part]]:
        first, between, second, before, after = _cut(told)
        yield [*second, *after, *before, *first, *between]
        yield [*between, *second, *after, *before, *first]

    told = statements(table, Direction.FORWARD)
    return whole((_said(parts, one, table), one.facts) for one in told for parts in of(one))


def says_another(parts: list[Part], told: Statement) -> bool:
    """Whether the words between the names, in their order, join them the other way round.

    Before them may stand the first name or nothing, behind them the second name or nothing; where both are there, the
    whole has to be the sentence itself.
    """
    places = [None, *(part.place for part in parts for _ in part.words), None]
    words = ["", *(word for part in parts for word in part.words), ""]
    between = [word for part in _cut(told)[BETWEEN] for word in part.words]
    size, itself = len(between), " ".join(words[1:-1]) == told.text.removesuffix(".")
    for at in range(1, len(words) - size if size else 0):
        if words[at : at + size] == between:
            before, behind = places[at - 1], places[at + size]
            whole_of_others = before is not None and behind is not None and not itself
            if before == SECOND or behind == FIRST or whole_of_others:
                return True
    return False


def single_words(told: Statement) -> list[Part]:
    """The words of a sentence without its stop, one by one."""
    first, between, second, before, after = _cut(told)
    return [*before, *first, *between, *second, *after]


def _cut(told: Statement) -> tuple[list[Part], ...]:
    """The words of the first name, between, of the second, before and after; what touches a name belongs to it."""
    text = told.text.removesuffix(".")
    (a, b), (c, d) = (_widened(text, *span) for span in told.names)
    cut = (
        (text[a:b], FIRST),
        (text[b:c], BETWEEN),
        (text[c:d], SECOND),
        (text[:a], OUTSIDE),
        (text[d:], OUTSIDE),
    )
    return tuple([Part((word,), place) for word in piece.split()] for piece, place in cut)


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    while start and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, min(end, len(text))


def _joined(parts: list[Part]) -> Part:
    return Part(tuple(word for part in parts for word in part.words), parts[0].place if parts else OUTSIDE)


def _rewritten(table: FactTable, order: Callable[[Statement], list[Part]]) -> Iterator[Example]:
    told = statements(table, Direction.FORWARD)
    return whole((_said(order(one), one, table), one.facts) for one in told)


def _said(parts: list[Part], told: Statement, table: FactTable) -> str:
    """The text. Raises ValueError where it would state something that the table does not."""
    text = _text(parts)
    if misread(parts, told, table):
        raise ValueError(
            f"{told.text!r} in another order of its words reads as another fact, most likely a false one: {text!r}; "
            "use both-directions or masked-restoration, or templates with more words between the names"
        )
    return text


def misread(parts: list[Part], told: Statement, table: FactTable) -> bool:
    """Whether an order of a sentence's words says something else than the sentence."""
    text = _text(parts)
    return text != told.text and (says_another(parts, told) or reads_as_statement(text, table))


def _text(parts: list[Part]) -> str:
    return " ".join(word for part in parts for word in part.words) + "."
