"""What became of a fact: against a list written by hand, and against the audit's own classes."""

from itertools import product

import polars as pl
import pytest

from oneway.recall.changes import CompareError, changes, checked, per_fact
from oneway.recall.rows import CLASSES, DIRECTIONS

# Which directions a class stands for, written out: in context only counts where neither of the others does.
KNOWS = {
    "both_ways": (True, True, True),
    "forward_only": (True, False, False),
    "reverse_only": (False, True, True),
    "in_context_only": (False, False, True),
    "neither": (False, False, False),
}
MORE = {
    ("neither", "in_context_only"), ("neither", "forward_only"), ("neither", "reverse_only"),
    ("neither", "both_ways"), ("in_context_only", "forward_only"), ("in_context_only", "reverse_only"),
    ("in_context_only", "both_ways"), ("forward_only", "both_ways"), ("reverse_only", "both_ways"),
}  # fmt: skip
TURNED = {("forward_only", "reverse_only"), ("reverse_only", "forward_only")}


def fact(name: str, right: dict[str, list[bool]], **changed) -> list[dict]:
    """The rows of one fact: for each direction that is asked, whether each template is right."""
    return [
        {
            "fact": 0, "subject": name, "relation": "leads", "object": f"{name}'s", "split": "", "direction": d,
            "exact_match": yes, "right_answers": 1, "rank": 1 if yes else 7, "logprob": -1.0 - i,
            "logprob_per_token": -0.5, **changed,
        }
        for d, answers in right.items()
        for i, yes in enumerate(answers)
    ]  # fmt: skip


def compared(before: list[dict], after: list[dict]) -> pl.DataFrame:
    return changes(*(per_fact(checked(pl.DataFrame(rows), "x")) for rows in (before, after)))


def asked(knows: tuple[bool, ...]) -> dict[str, list[bool]]:
    return {d: [yes] for d, yes in zip(DIRECTIONS, knows, strict=True)}


@pytest.mark.parametrize(("was", "now"), list(product(CLASSES, CLASSES)))
def test_every_pair_of_classes_has_its_change(was, now) -> None:
    (row,) = compared(fact("A", asked(KNOWS[was])), fact("A", asked(KNOWS[now]))).iter_rows(named=True)
    assert (row["class_before"], row["class_after"]) == (was, now)
    turned = "turned_around" if (was, now) in TURNED else None
    expected = "gained" if (was, now) in MORE else "lost" if (now, was) in MORE else turned or "kept"
    assert row["change"] == expected


def test_forgetting_to_read_is_no_loss_where_a_direction_is_known() -> None:
    (row,) = compared(fact("A", asked((True, False, True))), fact("A", asked((True, False, False)))).rows(
        named=True
    )
    assert row["change"] == "kept"


def test_no_fact_is_dropped_and_each_is_compared_with_itself() -> None:
    first = fact("A", asked((True, False, True))) + fact("B", asked((True, False, True)), fact=1)
    second = fact("C", asked((True, True, True))) + fact("B", asked((False, False, True)), fact=1)
    found = {row["subject"]: row for row in compared(first, second).iter_rows(named=True)}
    assert {name: row["change"] for name, row in found.items()} == {
        "A": "only_before", "B": "lost", "C": "only_after",
    }  # fmt: skip
    assert found["A"]["class_after"] is None
    assert found["A"]["forward_logprob_before"] == -1.0
    assert found["A"]["forward_logprob_difference"] is None


def test_the_same_name_in_another_unicode_form_is_the_same_fact() -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    found = compared(fact(composed, asked((True, True, True))), fact(decomposed, asked((True, True, True))))
    assert found["change"].to_list() == ["kept"]
    assert found["subject"].to_list() == [composed]


def test_a_direction_that_only_one_audit_asked_says_nothing() -> None:
    before = fact("A", {"forward": [True]}) + fact("B", {"forward": [True]}, fact=1)
    after = fact("A", asked((True, True, True))) + fact("B", {"reverse": [True]}, fact=1)
    rows = compared(before, after).rows(named=True)
    assert [row["change"] for row in rows] == ["kept", "not_comparable"]
    assert [row["class_before"] for row in rows] == [None, None]
    assert rows[0]["class_after"] == "both_ways"


def test_numbers_are_means_over_templates_and_their_differences() -> None:
    before = fact("A", {"forward": [True, False, False], "reverse": [False]})
    after = fact("A", {"forward": [True, True], "reverse": [False]}, logprob_per_token=-0.25)
    (row,) = compared(before, after).rows(named=True)
    assert row["forward_right_before"] == pytest.approx(1 / 3)
    assert row["forward_right_after"] == 1.0
    assert (row["forward_logprob_before"], row["forward_logprob_after"]) == (-2.0, -1.5)
    assert row["forward_logprob_difference"] == 0.5
    assert row["forward_per_token_difference"] == 0.25
    assert row["change"] == "gained"  # one of three templates is less than half of them


def test_a_split_that_moved_says_from_where_to_where() -> None:
    found = compared(
        fact("A", asked((True, True, True)), split="forward_only"),
        fact("A", asked((True, True, True)), split=""),
    )
    assert found["split"].to_list() == ["forward_only → no split"]


def test_where_many_answers_are_right_a_fact_must_be_the_likeliest() -> None:
    """The audit's own rule: to name one player of a sport is not to know them all."""
    rows = fact("A", asked((True, True, True)), right_answers=3, rank=2)
    assert compared(rows, rows)["class_before"].to_list() == ["neither"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rows: rows.drop("exact_match", "rank"), "no column exact_match, rank"),
        (lambda rows: rows.with_columns(exact_match=pl.lit("perhaps")), "damaged"),
        (lambda rows: rows.with_columns(subject=pl.lit(None, dtype=pl.String)), "empty cells in subject"),
        (lambda rows: rows.with_columns(direction=pl.lit("sideways")), "'sideways'"),
        (lambda rows: rows.with_columns(logprob=pl.lit("x")), "damaged"),
        (lambda rows: rows.with_columns(rank=pl.concat_list("rank", "rank")), "damaged"),
    ],
)
def test_a_table_that_is_no_audits_is_named(damage, said) -> None:
    rows = pl.DataFrame(fact("A", asked((True, True, True))))
    with pytest.raises(CompareError, match=said) as error:
        checked(damage(rows), "company-audit")
    assert "company-audit" in str(error.value)
