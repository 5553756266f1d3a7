"""What a lookup answers, computed from tokens alone: the meaning that the circuit has to have.

It finds what two forms or two names would answer at once, before anything is compiled; tests compare the model with it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from oneway.compiler.lookup import Entry, Form, Lookup, Words
from oneway.compiler.tokenizer import word_of


class Questions:
    """Reads a text as the circuit does: which forms end here, and which known name stands in their slot."""

    def __init__(self, lookup: Lookup) -> None:
        self._by_end: dict[str, list[Form]] = defaultdict(list)
        for form in lookup.forms:
            self._by_end[form.after[-1]].append(form)
        self._entries = {(entry.channel, entry.name): entry for entry in lookup.entries}
        self._names = {entry.name for entry in lookup.entries}
        self._longest = lookup.longest_name

    def name_at(self, tokens: Sequence[str], end: int) -> Words:
        """The longest known name whose last token stands before `end`; empty where there is none."""
        for length in range(min(self._longest, end), 0, -1):
            words = tuple(map(word_of, tokens[end - length : end]))
            if words in self._names:
                return words
        return ()

    def forms_at(self, tokens: Sequence[str]) -> Iterator[Form]:
        """The forms whose text ends where the tokens end, whatever stands in the slot.

        A form that another one takes the place of is left out.
        """
        if not tokens:
            return
        found = [form for form in self._by_end.get(tokens[-1], ()) if self._ends(form, tokens)]
        for form in found:
            if not any(takes_the_place(other, form) for other in found):
                yield form

    def _ends(self, form: Form, tokens: Sequence[str]) -> bool:
        end = len(tokens) - len(form.after)
        if end < 1 or tuple(tokens[end:]) != form.after:
            return False
        reach = range(1, self._longest + 1)
        return not form.before or any(
            tuple(tokens[max(end - length - len(form.before), 0) : end - length]) == form.before
            for length in reach
            if end - length >= len(form.before)
        )

    def entries_at(self, tokens: Sequence[str]) -> dict[tuple[str, Words], Entry]:
        """The entries that a text asks for where it ends."""
        found = {}
        for form in self.forms_at(tokens):
            name = self.name_at(tokens, len(tokens) - len(form.after))
            entry = self._entries.get((form.channel, name))
            if entry is not None:
                found[entry.channel, entry.name] = entry
        return found


def takes_the_place(other: Form, form: Form) -> bool:
    """Whether a form silences another one: the same text after the name, a longer one before it, another channel."""
    return (
        other.after == form.after
        and other.channel != form.channel
        and len(other.before) > len(form.before)
        and other.before[len(other.before) - len(form.before) :] == form.before
    )


def confusions(lookup: Lookup) -> Iterator[str]:
    """Questions of the table itself that would ask for something else besides, and answers that ask anew."""
    questions = Questions(lookup)
    ends = {form.after[-1] for form in lookup.forms}
    name_words = {word for entry in lookup.entries for word in entry.name}
    forms: dict[str, list[Form]] = defaultdict(list)
    for form in lookup.forms:
        forms[form.channel].append(form)
    suspicious = {form: _suspicious(form, lookup.forms, name_words) for form in lookup.forms}
    for entry in lookup.entries:
        asks = any(token in ends for token in entry.answer)
        for form in forms[entry.channel]:
            if not (asks or suspicious[form]):
                continue
            tokens = [*form.before, *entry.name, *form.after]
            asked = questions.entries_at(tokens)
            if any(found.answer != entry.answer for found in asked.values()) or not asked:
                yield _confused(entry, form, asked)
            for said in range(1, len(entry.answer) + 1):
                if asks and any(questions.forms_at([*tokens, *entry.answer[:said]])):
                    yield (
                        f"the answer {' '.join(entry.answer)!r} of {' '.join(entry.name)!r} holds words of a template, "
                        "which ask anew: word that template otherwise"
                    )
                    break


def _suspicious(form: Form, forms: Sequence[Form], name_words: set[str]) -> bool:
    """Whether a form's questions may be taken for others: text like another form's, or name words beside the slot."""
    if form.before and word_of(form.before[-1]) in name_words:
        return True
    return any(other != form and form.after[-len(other.after) :] == other.after for other in forms)


def _confused(entry: Entry, form: Form, asked: dict[tuple[str, Words], Entry]) -> str:
    others = ", ".join(
        f"{' '.join(found.name)!r} for {found.channel!r}"
        for found in asked.values()
        if (found.channel, found.name) != (entry.channel, entry.name)
    )
    text = " ".join((*form.before, "{name}", *form.after))
    return (
        f"asked of {' '.join(entry.name)!r}, {text!r} also asks {others or 'in the words of another relation'}: "
        "word the template otherwise"
    )
