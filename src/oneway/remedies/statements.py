"""Facts as sentences, in one direction, the right answers of a question together as a set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oneway.facts import Direction, FactTable, Relation
from oneway.facts.rendering import fill, parse, relation_of, statement

MOST_LISTED = 5  # right answers of one question that a sentence lists; of more, each has a sentence


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that is closed by a stop, and states facts of a table.

    `names`: the spans of the two names in their order, a list of names being one. `asked`: which of them answers the
    question that the sentence answers. `right`: how many right answers there are. `facts`: rows of the table.
    `template`: the index among those of the direction.
    """

    text: str
    names: tuple[tuple[int, int], tuple[int, int]]
    asked: int
    facts: tuple[int, ...]
    right: int
    template: int

    @property
    def prompt(self) -> str:
        """The text up to the answer, without the space before it, as the audit asks."""
        return self.text[: self._answer]

    @property
    def completion(self) -> str:
        """The answer, with the space before it, and the rest of the sentence."""
        return self.text[self._answer :]

    @property
    def _answer(self) -> int:
        start = self.names[self.asked][0]
        return start - (1 if self.text[:start].endswith(" ") else 0)


def statements(table: FactTable, direction: Direction) -> Iterator[Statement]:
    """Every fact in a direction, with every template of its relation.

    A question with up to MOST_LISTED right answers is one sentence that lists them, in the order of the table; one with
    more is a sentence for each. Relations without a template for the direction give nothing, see `unworded`.

    Raises ValueError where a fact's relation is not in the table.
    """
    forward = direction is Direction.FORWARD
    asked: dict[tuple[str, str], list[int]] = {}
    for index, fact in enumerate(table.facts):
        asked.setdefault((fact.relation, fact.subject if forward else fact.object), []).append(index)
    for (_, given), rows in asked.items():
        relation = relation_of(table, table.facts[rows[0]])
        names = [table.facts[row].object if forward else table.facts[row].subject for row in rows]
        together = len(rows) <= MOST_LISTED
        parts = [(names, rows)] if together else [([n], [row]) for n, row in zip(names, rows, strict=True)]
        templates = relation.forward if forward else relation.reverse
        for index, template in enumerate(templates):
            for answers, stated in parts:
                listed = listing(answers)
                filled = fill(template, *((given, listed) if forward else (listed, given)))
                first, second = sorted((filled.subject, filled.object))
                yield Statement(
                    text=statement(filled.text),
                    names=(first, second),
                    asked=(first, second).index(filled.object if forward else filled.subject),
                    facts=tuple(stated),
                    right=len(rows),
                    template=index,
                )


def listing(names: Sequence[str]) -> str:
    """`Ann`, `Ann and Ben`, `Ann, Ben and Cy`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def reads_as_statement(text: str, table: FactTable) -> bool:
    """Whether a text has the words of some template of the table around two names, whatever these are."""
    for relation in table.relations.values():
        for template in (*relation.forward, *relation.reverse):
            cut = parse(template)
            after = statement(cut.after)
            if text.startswith(cut.before) and text.endswith(after):
                names = text[len(cut.before) : len(text) - len(after)]
                at = names.find(cut.between, 1)
                if 0 < at < len(names) - len(cut.between):
                    return True
    return False


def unworded(table: FactTable, direction: Direction) -> list[Relation]:
    """The relations of a table's facts that have no template for a direction."""
    used = dict.fromkeys(fact.relation for fact in table)
    relations = [table.relations[name] for name in used if name in table.relations]
    return [r for r in relations if not (r.forward if direction is Direction.FORWARD else r.reverse)]
