"""Text in a terminal and in a README says what the record says, and nothing in it is read as markup."""

import io

import pytest
from rich.console import Console

from oneway.evidence import Claim, Estimate, RunRecord, over_facts
from oneway.report.tables import (
    estimate_text,
    percent,
    print_record,
    verdict_overview_markdown,
    verdict_table_markdown,
)

CLAIM = Claim(
    id="Z3",
    text="one | way",
    source="a paper",
    rule="r",
    control=lambda m: True,
    supports=lambda m: True,
    refutes=lambda m: False,
)


def record(**changes) -> RunRecord:
    fields = {"study": "s", "run_id": "r1", "title": "Title", "asked": "?", "config": {}, "seeds": [0, 1]}
    return RunRecord(**{**fields, **changes})


def printed(shown: RunRecord) -> str:
    out = io.StringIO()
    print_record(shown, Console(file=out, width=110, force_terminal=False))
    return out.getvalue()


def entry(split: str, relation: str, direction: str, right: int, of: int) -> dict:
    exact = over_facts([1.0] * right + [0.0] * (of - right), "probability").to_dict()
    return {
        "split": split,
        "relation": relation,
        "direction": direction,
        "facts": of,
        "exact_match": exact,
        "chance": 0.031,
    }


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.9996, ">99.9%"),
        (0.995, "99.5%"),
        (0.5, "50%"),
        (0.0312, "3.1%"),
        (0.25, "25%"),
    ],
)
def test_percent(share, text) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.5, 0.4, 0.6, 9, "probability"), "50% [40, 60]"),
        (Estimate(-2.5, -3.0, -2.0, 9, "nats"), "-2.5 [-3, -2] nats"),
        (Estimate(0.5, float("-inf"), float("inf"), 1, "probability"), "50% (no interval)"),
    ],
)
def test_estimates(estimate, text) -> None:
    assert estimate_text(estimate) == text


def test_summary_has_a_line_for_all_for_each_split_and_for_each_relation() -> None:
    summary = [
        entry(split, relation, direction, right, 100)
        for split in ("", "seen", "unseen")
        for relation in ("", "son", "mother")
        for direction, right in (("forward", 98), ("reverse", 2))
    ]
    lines = [line.split() for line in printed(record(summary=summary)).splitlines()]
    labels = [" ".join(line[:2]) for line in lines if "98%" in line]
    assert labels == ["all 100", "split seen", "split unseen", "relation son", "relation mother"]
    first = next(line for line in lines if line[:1] == ["all"])
    assert first[1:3] == ["100", "98%"]
    assert first.count("3.1%") == 2
    assert "2.0%" in first


def test_verdicts_are_printed_with_what_was_measured() -> None:
    judged = CLAIM.judge({"reverse": Estimate(0.02, 0.01, 0.03, 10, "probability")}).to_dict()
    text = printed(record(claims=[judged], notes=["facts.csv:4 skipped"]))
    assert "reproduced" in text
    assert "reverse: 2.0% [1.0, 3.0]" in text
    assert "facts.csv:4 skipped" in text


def test_nothing_in_a_file_commands_the_terminal() -> None:
    text = printed(record(title="[red]x[/red] \x1b[2J", summary=[entry("", "", "forward", 1, 2)]))
    assert "[red]x[/red] \\x1b[2J" in text
    assert "\x1b" not in text


def test_markdown_table_is_traced_and_escaped() -> None:
    judged = CLAIM.judge({"a": Estimate(0.5, 0.4, 0.6, 2, "")}).to_dict()
    text = verdict_table_markdown({"records/a.json": record(claims=[{**judged, "verdict": "<b>\nx"}])})
    assert text.splitlines()[2] == (
        "| Z3 | **&lt;b&gt; x** | one \\| way<br>*a 0.5 \\[0.4, 0.6]* | [s, 2 seeds](records/a.json) |"
    )


def test_overview_has_a_line_per_run_and_escapes() -> None:
    judged = CLAIM.judge({"a": Estimate(0.5, 0.4, 0.6, 2, "")}).to_dict()
    claims = [judged | {"id": "A", "verdict": "reproduced"}, judged | {"id": "B|", "verdict": "reproduced"}]
    claims.append(judged | {"id": "C", "verdict": "contradicted"})
    text = verdict_overview_markdown([("s.md", record(claims=claims, title="<b>"))])
    assert text.splitlines()[2] == "| [s, 2 seeds](s.md) | &lt;b&gt; | A, B\\| | C | – |"
    many = [judged | {"id": str(number), "verdict": "reproduced"} for number in range(13)]
    text = verdict_overview_markdown([("s.md", record(claims=many, title="t"))])
    assert text.splitlines()[2] == "| [s, 2 seeds](s.md) | t | [13 claims](s.md) | – | – |"
