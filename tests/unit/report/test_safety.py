"""What a file says stays text: in figures, in a terminal, in paths; a record from elsewhere reaches nothing else."""

import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from oneway.api import write_report
from oneway.evidence import Estimate, RunRecord
from oneway.report.comparisons import before_against_after, printed
from oneway.report.figures import bars, forward_against_reverse, picture
from oneway.report.tables import print_changed, print_record

HALF = Estimate(0.5, 0.4, 0.6, 9, "probability").to_dict()


def entries(names: list[str]) -> list[dict]:
    """A summary that an audit's figure reads and a comparison's too."""
    measured = {"exact_match": HALF, "difference": HALF, "logprob_per_token": HALF, "chance": 0.1, "facts": 9}
    measured |= {"before": 0.2, "after": 0.7, "p_value": 0.5, "right_before_only": 1, "right_after_only": 6}
    found = [
        {"relation": name, "split": "", "direction": direction, **measured}
        for name in ("", *names)
        for direction in ("forward", "reverse", "in_context")
    ]
    head = {"relation": "", "split": "", "direction": "", "facts": 9, "changes": {"kept": 9}}
    return [head | {"transitions": [{"before": "neither", "after": "both_ways", "facts": 9}]}, *found]


@pytest.mark.parametrize("draw", [bars, printed])
def test_a_figure_is_xml_and_holds_no_command(payloads, draw) -> None:
    """All names at once, a part at a time: what is drawn beside an axis is glyphs and an escaped comment."""
    texts = list(payloads.values())
    for first in range(0, len(texts), 20):
        summary = entries(texts[first : first + 20])
        drawn = picture(draw(summary[1:] if draw is bars else summary), "svg")
        root = ET.fromstring(drawn)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "foreignObject", "image", "a", "iframe", "animate", "set", "text"}
        attributes = {name.lower() for element in root.iter() for name in element.attrib}
        assert not [name for name in attributes if name.startswith("on")]
        links = {v for e in root.iter() for k, v in e.attrib.items() if k.rpartition("}")[2] == "href"}
        assert all(link.startswith("#") for link in links)


def test_plotly_reads_no_markup_of_a_file(make_audit, payloads) -> None:
    texts = list(payloads.values())
    rows = make_audit(parents=len(texts), athletes=0).rows
    text = pl.col("fact").replace_strict(dict(enumerate(texts)), return_dtype=pl.String)
    named = rows.with_columns(text.alias("subject"), text.alias("relation"), text.alias("split"))
    compared = named.unique("fact").with_columns(
        change=pl.lit("gained"),
        **{
            f"{d}_per_token_{w}": -1.0
            for d in ("forward", "reverse", "in_context")
            for w in ("before", "after")
        },
    )
    figures = [forward_against_reverse(named), before_against_after(compared)]
    hovers = [hover for figure in figures for trace in figure.data for hover in trace.text]
    assert len(hovers) == 4 * len(texts)
    for hover in hovers:
        assert set(re.findall(r"<[^>]*>?", hover)) == {"<b>", "</b>", "<br>"}
    assert all(trace.hovertemplate is None for figure in figures for trace in figure.data)


def test_a_terminal_gets_no_command(payloads) -> None:
    texts = list(payloads.values())
    claims = [
        {"id": text, "verdict": text, "reason": text, "measured": {text: HALF | {"unit": text}}}
        for text in texts
    ]
    record = RunRecord(
        study="s", run_id="r", title=texts[0], asked="?", config={}, claims=claims, notes=texts,
        summary=[{k: v for k, v in entry.items() if k != "difference"} for entry in entries(texts)[1:]],
    )  # fmt: skip
    facts = pl.DataFrame({"subject": texts, "relation": texts, "object": texts})
    facts = facts.with_columns(change=pl.lit("lost"), class_before=pl.lit("both_ways"), class_after=None)
    out = io.StringIO()
    for shown in (record, replace(record, summary=entries(texts))):
        print_record(shown, Console(file=out, width=110, force_terminal=True))
    print_changed(facts, Console(file=out, width=110, force_terminal=True), most=len(texts))
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # our own colours
    assert [c for c in set(said) if not c.isprintable() and c != "\n"] == []
    assert "owned" in said
    assert "[red]x[/red]" in said
    assert "]8;;" not in out.getvalue().replace("\\x1b]8;;", "")  # no link but ours, and we make none


def saved(folder: Path, **changed) -> Path:
    folder.mkdir()
    fields = RunRecord(study="audit", run_id="r", title="t", asked="?", config={}).to_dict() | changed
    (folder / "record.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "file",
    ["../../etc/passwd", "/etc/passwd", "..", "a/../../secret", "C:\\secret", "a\0b", "", "link.parquet"],
)
def test_a_table_outside_the_run_is_refused(tmp_path, file) -> None:
    pl.DataFrame({"secret": [1]}).write_parquet(tmp_path / "secret")
    folder = saved(tmp_path / "run", tables={"per_fact": file})
    (folder / "link.parquet").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"(inside|leaves) the run directory"):
        write_report([folder], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_figures_outside_the_run_are_passed_over(tmp_path) -> None:
    (tmp_path / "secret.svg").write_text("secret")
    outside = [
        "../secret.svg",
        str(tmp_path / "secret.svg"),
        "link.svg",
        "a\0.svg",
        "",
        ".",
        "x" * 5000,
        "folder.svg",
    ]
    folder = saved(tmp_path / "run", figures={str(i): file for i, file in enumerate(outside)})
    (folder / "link.svg").symlink_to(tmp_path / "secret.svg")
    (folder / "folder.svg").mkdir()
    text = write_report([folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"figures":[]' in text
    assert "c2VjcmV0" not in text  # "secret" as a data URL has it


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tables": {"per_fact": 3}}, "'tables' should be an object of texts"),
        ({"figures": ["a.svg"]}, "'figures' should be an object of texts"),
        ({"claims": ["Z3"]}, "'claims' should be a list of objects"),
        ({"summary": {}}, "'summary' should be a list of objects"),
        ({"title": None}, "'title' should be a text"),
        ({"notes": "x"}, "'notes' should be a list of texts"),
        ({"wall_seconds": "long"}, "'wall_seconds' should be a number"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_record_of_another_shape_is_named(tmp_path, changed, said) -> None:
    folder = saved(tmp_path / "run", **changed)
    with pytest.raises(ValueError, match=said) as error:
        write_report([folder], tmp_path / "page.html")
    assert "record.json" in str(error.value)


def test_messages_of_the_command_escape_what_they_quote(tmp_path) -> None:
    """A record's words reach the terminal in an error message too."""
    name = "\x1b[2J\x9b31m\u202e"
    rows = pl.DataFrame({"subject": ["a"]})
    for folder in ("a", "b"):
        saved(tmp_path / folder, config={"model": name}, tables={"per_fact": "t.parquet"}, run_id=folder)
        rows.write_parquet(tmp_path / folder / "t.parquet")
    command = [sys.executable, "-m", "oneway.cli", "compare", "a", "b"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "\\x1b[2J\\x9b31m\\x202e" in done.stderr
    assert not [c for c in done.stderr if not c.isprintable() and c != "\n"]
