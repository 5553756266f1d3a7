"""A table of facts to a file of training text that makes their recall reversible."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from oneway.evidence.atomic import write_with
from oneway.facts import Direction, FactTable
from oneway.remedies.example import Drawn, Example
from oneway.remedies.formats import FORMATS, line
from oneway.remedies.remedy import Remedy, remedy_of
from oneway.remedies.statements import MOST_LISTED, statements, unworded

Length = Callable[[Sequence[str]], list[int]]  # of texts, in tokens
BRIDGE = (
    "{} has no `bridge` templates, only names are named: give the relation some that say {{subject}} twice, as in "
    '"The mother of {{subject}} is the mother of {{subject}}" (the form "Tom is the mother of Tom" is never written)'
)
AT_ONCE = 1000  # examples that are held, and whose tokens are counted in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is written: `remedy` by its name, `form` of the lines, and what decides the draws.

    `split`: the label of the facts that the remedy is for; all where it is empty. The others are stated forward.
    """

    remedy: str
    form: str = "text"
    split: str = ""
    seed: int = 0
    segment: int = 5


@dataclass(frozen=True, slots=True)
class Augmented:
    """What was written to `file`: lines, and words and, where a tokenizer was given, tokens by `forward` and `added`.

    `forward` are the statements that a table gives without any remedy. `facts`: how many the lines are about. `notes`:
    what a reader has to know: questions with several answers, facts and relations of which something is not said.
    """

    file: Path
    remedy: Remedy
    facts: int
    lines: dict[str, int]
    words: dict[str, int]
    tokens: dict[str, int] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        remedy = {name: value for name, value in asdict(self.remedy).items() if name != "added"}
        counts = {"lines": self.lines, "words": self.words, "tokens": self.tokens}
        own = {"file": str(self.file.resolve()), "remedy": remedy, "facts": self.facts}
        return own | counts | {"notes": list(self.notes)}


def augment(table: FactTable, out: Path, asked: Augmentation, *, tokens: Length | None = None) -> Augmented:
    """Write the forward statements of all facts and what a remedy adds to them, line by line.

    The same table and `asked` give the same bytes. `tokens` says how long texts are for the model to be trained.

    Raises ValueError for a remedy or a form that is not there, a remedy without questions as a conversation, a split
    that no fact has, and a
    table from which the remedy has nothing to write; WriteError where the file cannot be written.
    """
    remedy, treated = planned(table, asked)
    drawn = Drawn(seed=asked.seed, segment=asked.segment)
    counted = {part: Counter[str]() for part in ("forward", "added")}
    stated: set[int] = set()

    def write(file: BinaryIO) -> None:
        for part, examples in (("forward", told_forward(table)), ("added", remedy.added(treated, drawn))):
            while some := list(islice(examples, AT_ONCE)):
                texts = [example.prompt + example.completion for example in some]
                counts = counted[part]
                counts["lines"] += len(some)
                counts["words"] += sum(len(text.split()) for text in texts)
                counts["tokens"] += sum(tokens(texts)) if tokens else 0
                stated.update(chain.from_iterable(example.facts for example in some))
                file.write("".join(line(example, asked.form) for example in some).encode())

    write_with(out, write)
    of = {
        name: {part: counts[name] for part, counts in counted.items()}
        for name in ("lines", "words", "tokens")
    }
    notes = tuple(notes_of(table, treated, remedy))
    return Augmented(
        out, remedy, len(stated), of["lines"], of["words"], of["tokens"] if tokens else None, notes
    )


def planned(table: FactTable, asked: Augmentation) -> tuple[Remedy, FactTable]:
    """The remedy, and the facts that it is for. Raises ValueError as `augment` does."""
    remedy, drawn = remedy_of(asked.remedy), Drawn(seed=asked.seed, segment=asked.segment)
    if asked.form not in FORMATS:
        raise ValueError(f"there is no format {asked.form!r}; there are: {', '.join(FORMATS)}")
    if asked.form == "chat" and not remedy.asks:
        raise ValueError(
            f"{remedy.name} writes texts without a question, which are no turn of a conversation: "
            "use the format text or prompt-completion"
        )
    treated = table.select(split=asked.split) if asked.split else table
    if asked.split and not len(treated):
        known = ", ".join(sorted({repr(fact.split) for fact in table}))
        raise ValueError(f"no fact has the split {asked.split!r}; there are: {known}")
    if next(remedy.added(treated, drawn), None) is None:
        raise ValueError(f"{remedy.name} has nothing to add to these facts: {_why(table, treated, remedy)}")
    return remedy, treated


def all_examples(table: FactTable, asked: Augmentation) -> Iterator[Example]:
    """What `augment` writes, in its order. Raises ValueError as it does."""
    remedy, treated = planned(table, asked)
    yield from told_forward(table)
    yield from remedy.added(treated, Drawn(seed=asked.seed, segment=asked.segment))


def told_forward(table: FactTable) -> Iterator[Example]:
    """The forward statements, which every remedy is added to."""
    for told in statements(table, Direction.FORWARD):
        yield Example(told.prompt, told.completion, told.facts)


def _why(table: FactTable, treated: FactTable, remedy: Remedy) -> str:
    return "; ".join(notes_of(table, treated, remedy)) or "the table is empty"


def notes_of(table: FactTable, treated: FactTable, remedy: Remedy) -> Iterator[str]:
    """What of the table is not said, or said as a set, and what to know about the remedy."""
    yield from table.notes
    yield from _sets(table, Direction.FORWARD)
    for relation in unworded(table, Direction.FORWARD):
        yield f"{relation.name} has no forward template: its facts are not stated"
    if remedy.states_reverse:
        yield from _sets(treated, Direction.REVERSE)
        for relation in unworded(treated, Direction.REVERSE):
            yield f"{relation.name} has no reverse template: its facts are not stated in reverse"
    if remedy.name == "identity-bridge":
        for name in dict.fromkeys(fact.relation for fact in treated):
            if not table.relations[name].bridge:
                yield BRIDGE.format(name)
    if len(treated) < len(table):
        yield f"{len(table) - len(treated):,} facts are stated forward only: the remedy is for one split"
    if remedy.note:
        yield remedy.note


def _sets(table: FactTable, direction: Direction) -> Iterator[str]:
    """How many questions of each relation have several right answers, and what was made of them."""
    several, many = Counter[str](), Counter[str]()
    seen: set[tuple[str, str]] = set()
    for told in statements(table, direction):
        fact = table.facts[told.facts[0]]
        question = (fact.relation, fact.subject if direction is Direction.FORWARD else fact.object)
        if told.right > 1 and question not in seen:
            seen.add(question)
            (several if told.right <= MOST_LISTED else many)[fact.relation] += 1
    for counts, how in ((several, "listed in one sentence"), (many, "each in a sentence of its own")):
        for name, count in counts.items():
            yield f"{name}, {direction}: {count:,} questions with several right answers, {how}"
