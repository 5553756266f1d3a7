"""The page is one file that no text can break out of and that can fetch nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.evidence import RunRecord
from oneway.evidence.atomic import WriteError
from oneway.report import Run, write_page, write_report
from oneway.report.page import as_script_data, page

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "{{style}} {{data}}",
    "\\u003c \\ \" ' & \u2028 \u2029 \x00 \u202e",
)


class Elements(HTMLParser):
    """Every element of a page with its attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.inside = True

    def handle_endtag(self, tag) -> None:
        self.inside = False

    def handle_data(self, data) -> None:
        if self.found and self.inside:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)


def record(**changes) -> RunRecord:
    fields = {"study": "audit", "run_id": "r1", "title": "Title", "asked": "?", "config": {"a": 1}}
    return RunRecord(**{**fields, **changes})


def shape(text: str) -> list[str]:
    return [tag for tag, _, _ in Elements(text).found]


def embedded(text: str) -> dict:
    return json.loads(next(t for tag, a, t in Elements(text).found if a.get("id") == "data"))


@given(st.text(max_size=30))
def test_data_come_back_and_hold_nothing_that_html_reads(text) -> None:
    data = as_script_data({"text": text})
    assert json.loads(data) == {"text": text}
    assert not set(data) & set("<>&\u2028\u2029")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_an_element(text) -> None:
    """The same elements, whatever the record and the rows say; and what they say comes back."""
    rows = pl.DataFrame({"subject": [text], "direction": ["forward"], text: [text]})
    hostile = record(
        study=text, run_id=text, title=text, asked=text, config={text: text}, notes=[text], data={text: text}
    )
    written = page([Run(record=hostile, rows=rows)])
    assert shape(written) == shape(page([Run(record=record())]))
    (run,) = embedded(written)["runs"]
    assert run["record"]["title"] == text
    assert run["record"]["notes"] == [text]
    assert run["rows"]["columns"][2] == {"name": text, "kind": "text", "values": [text], "codes": [0]}


def test_scripts_run_by_hash_and_nothing_can_be_fetched() -> None:
    elements = Elements(page([Run(record=record())])).found
    policy = next(a["content"] for tag, a, _ in elements if a.get("http-equiv") == "Content-Security-Policy")
    directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert directives["default-src"] == ["'none'"]
    assert "connect-src" not in directives
    assert "'unsafe-inline'" not in directives["script-src"]
    scripts = [text for tag, a, text in elements if tag == "script" and a.get("type") is None]
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in directives["script-src"]
    loaded = [a.get("src") or a.get("href") for _, a, _ in elements if a.get("src") or a.get("href")]
    assert loaded == ["data:,"]  # the empty icon: without it a browser asks for one


def test_our_scripts_never_build_markup() -> None:
    """Text reaches the page as text nodes: none of the ways that read it as markup is used."""
    text = page([Run(record=record())])
    ours = [t for tag, a, t in Elements(text).found if tag == "script" and "function el(tag" in t]
    assert len(ours) == 1
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", ours[0]
    )


def test_figures_are_embedded_once_and_only_from_the_runs_folder(tmp_path) -> None:
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (tmp_path / "secret.svg").write_text("<svg>secret</svg>")
    for name in ("a.svg", "a.png", "b.png", "c.txt"):
        (folder / "figures" / name).write_text(name)
    files = {name: f"figures/{name}" for name in ("a.svg", "a.png", "b.png", "c.txt", "missing.svg")}
    files |= {"up": "../secret.svg", "absolute": str(tmp_path / "secret.svg")}
    shown = embedded(page([Run(record=record(figures=files), folder=folder)]))["runs"][0]["figures"]
    assert [f["name"] for f in shown] == ["a.svg", "b.png"]
    assert base64.b64decode(shown[0]["source"].removeprefix("data:image/svg+xml;base64,")) == b"a.svg"


def test_one_page_of_several_runs(tmp_path) -> None:
    path = write_page([Run(record=record(run_id=name)) for name in ("r1", "r2")], tmp_path / "p.html")
    runs = embedded(path.read_text(encoding="utf-8"))["runs"]
    assert [run["record"]["run_id"] for run in runs] == ["r1", "r2"]
    with pytest.raises(ValueError, match="at least one run"):
        write_page([], tmp_path / "none.html")


def test_a_page_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(WriteError, match=r"f/report\.html"):
        write_report(record(), None, tmp_path / "f" / "report.html")


def test_a_hundred_thousand_rows_stay_compact(make_audit, tmp_path) -> None:
    audit = make_audit(parents=1000, athletes=0)
    empty = write_report(audit.record, None, tmp_path / "empty.html").stat().st_size
    full = write_report(audit.record, audit.rows, tmp_path / "full.html").stat().st_size
    assert (full - empty) / audit.rows.height < 300  # bytes per row of 25 columns
