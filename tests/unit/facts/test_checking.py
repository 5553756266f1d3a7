"""What rows mean beside one another: duplicates, contradictions, memory that is bounded."""

import tracemalloc
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Fact, FactErrors, FactTable, Relation, read_facts
from oneway.facts.checking import _NOT_IN_NAMES, Ledger
from oneway.facts.formats.editing import COUNTERFACT
from oneway.facts.formats.form import FactFile, Form, RawRow
from oneway.facts.formats.own import OWN
from oneway.facts.problems import KEPT, Findings

MOTHER = Relation("mother", forward=("{subject}'s mother is {object}",), one_to_one=True)
SPORT = Relation("sport", forward=("{subject} plays {object}",))


def entered(rows: list[tuple[str, ...]], form: Form = OWN) -> tuple[list[Fact], Findings]:
    findings = Findings()
    ledger = Ledger({"mother": MOTHER, "sport": SPORT}, findings)
    numbered = (RawRow(line, *row) for line, row in enumerate(rows, start=1))
    ledger.enter(FactFile(Path("f.csv"), form, numbered))
    return ledger.facts, findings


def reasons(findings: Findings) -> list[tuple[int, str]]:
    with pytest.raises(FactErrors) as error:
        findings.raise_problems()
    return [(problem.line, problem.reason) for problem in error.value.problems]


pairs = st.tuples(st.sampled_from("abcd"), st.sampled_from(("mother", "sport")), st.sampled_from("wxyz"))


@given(st.lists(pairs, max_size=12))
@settings(max_examples=200, deadline=None)
def test_duplicates_and_contradictions_are_those_of_the_definition(rows: list[tuple[str, str, str]]) -> None:
    """The oracle looks at all rows before each: what was said, and who had which name first."""
    expected: list[tuple[int, str]] = []
    for i, (subject, relation, object) in enumerate(rows):
        before = rows[:i]
        if rows[i] in before:
            expected.append((i + 1, f"duplicate of line {before.index(rows[i]) + 1}"))
            continue
        if relation == "mother":
            for place, name in ((0, subject), (2, object)):
                same = [k for k, row in enumerate(before) if row[1] == relation and row[place] == name]
                expected += [(i + 1, f"contradicts line {same[0] + 1}")] if same else []
    facts, findings = entered(list(rows))
    found = [] if not findings.count else [(line, said.partition(":")[0]) for line, said in reasons(findings)]
    assert found == expected
    if not expected:
        assert [(fact.subject, fact.relation, fact.object) for fact in facts] == rows


def test_in_published_files_a_repeated_fact_is_kept_once_with_all_aliases() -> None:
    rows = [
        ("José", "sport", "go", "", ("weiqi",), ("J.",)),
        ("Jose\u0301", "sport", "go", "", ("baduk", "weiqi"), ()),
        ("José", "sport", "go"),
        ("José", "sport", "chess"),
    ]
    facts, findings = entered(rows, COUNTERFACT)
    assert facts == [
        Fact("José", "sport", "go", "", ("weiqi", "baduk"), "f.csv:1", ("J.",)),
        Fact("José", "sport", "chess", "", (), "f.csv:4"),
    ]
    assert findings.notes() == (
        "2 times: a fact that stands there already is kept once (f.csv:2 as line 1, f.csv:3 as line 1)",
    )
    _, findings = entered(rows)
    assert reasons(findings) == [
        (2, "duplicate of line 1, but for its Unicode form"),
        (3, "duplicate of line 1"),
    ]


@given(st.characters(), st.sampled_from(("subject", "object", "split", "alias")))
@settings(max_examples=300, deadline=None)
def test_the_quick_look_at_a_row_sees_every_forbidden_sign(sign: str, where: str) -> None:
    cells = {name: f"a{sign}b" if name == where else "x" for name in ("subject", "object", "split", "alias")}
    aliases = (cells["alias"],) if where == "alias" else ()
    _, findings = entered([(cells["subject"], "sport", cells["object"], cells["split"], aliases)])
    assert (findings.count > 0) == (_NOT_IN_NAMES.search(sign) is not None)


def test_no_forbidden_sign_can_be_printed_but_one() -> None:
    signs = [chr(code) for code in range(0x110000) if _NOT_IN_NAMES.match(chr(code))]
    assert [sign for sign in signs if sign.isprintable()] == ["\ufffd"]
    joiners = "\u200c\u200d\u200e\u200f\u202b\u2066\u00a0\u0301"
    assert not _NOT_IN_NAMES.search(joiners)


def test_right_to_left_names_emoji_and_joiners_are_names() -> None:
    names = ("שרה", "عبد‌الله", "👩‍🚀", "e\u0301", "नेहा", "\u202bمريم\u202c")
    facts, findings = entered([(name, "sport", "go") for name in names])
    assert findings.count == 0
    assert [fact.subject for fact in facts] == list(names)
    assert not unicodedata.is_normalized("NFC", facts[3].subject)


def test_all_bad_rows_are_counted_and_the_first_are_shown() -> None:
    _, findings = entered([("", "sport", "go")] * (KEPT + 500) + [("a", "aunt", "b")])
    assert findings.count == KEPT + 501
    with pytest.raises(FactErrors) as error:
        findings.raise_problems()
    assert len(error.value.problems) == KEPT
    lines = str(error.value).splitlines()
    assert lines[0] == "1,501 problems in the facts; nothing was read:"
    assert lines[1:51] == [f"  f.csv:{i}: subject is empty" for i in range(1, 51)]
    assert lines[51:] == ["  … and 1,451 more"]


def test_problems_of_the_templates_come_first_however_many_rows_are_bad(tmp_path: Path) -> None:
    facts = tmp_path / "a.csv"
    facts.write_text("subject,relation,object\n" + ",sport,go\n" * 2000)
    toml = tmp_path / "z.toml"
    toml.write_text('[sport]\nforward = ["{subject}"]\n')
    with pytest.raises(FactErrors) as error:
        read_facts(facts, toml)
    assert error.value.count == 2001
    assert error.value.problems[0].file == str(toml)


def test_notes_go_with_the_table() -> None:
    one = FactTable((Fact("a", "sport", "go", "x"),), {"sport": SPORT}, ("one",))
    two = FactTable((Fact("b", "sport", "go", "y"),), {"sport": SPORT}, ("two", "one"))
    assert one.select(split="y").notes == one.with_facts(()).notes == ("one",)
    assert one.joined(two).notes == ("one", "two")


def test_repeated_texts_are_one_object_and_memory_grows_slowly() -> None:
    """Bytes a row of a one-to-one relation, names included: a million rows fit in 1 GiB several times over."""
    count = 2000

    def rows() -> Iterator[RawRow]:
        for i in range(count):
            yield RawRow(
                i + 2, f"Person Number {i}", str(b"mother", "ascii"), f"Mother Number {i}", f"s{i % 2}"
            )

    findings = Findings()
    ledger = Ledger({"mother": MOTHER}, findings)
    tracemalloc.start()
    ledger.enter(FactFile(Path("facts.csv"), OWN, rows()))
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert findings.count == 0
    assert len({id(fact.relation) for fact in ledger.facts}) == 1
    assert len({id(fact.split) for fact in ledger.facts}) == 2
    assert used / count < 700
    assert peak / count < 900
