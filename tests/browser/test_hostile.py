"""Names that try to run, to fetch, to break out: in a real browser nothing happens, and they show as they are."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from invented import dissection

from oneway.evidence import Estimate, RunRecord
from oneway.recall.compare import compare
from oneway.report import Chart, Dissection, Run, Section, write_page

pytestmark = pytest.mark.browser

# Everything on the page that text could have become, had it been read as markup.
BUILT = "return [...document.querySelectorAll(arguments[0])].map((e) => e.outerHTML)"
MARKUP = (
    "iframe, object, embed, form, base, link:not([rel=icon]), meta[http-equiv=refresh], math, animate, use, video, "
    "marquee, textarea, main script, main style, main a, foreignObject, [srcdoc], [srcset], [onerror], [onload], "
    "[onfocus], [onclick], [onmouseover], img:not([src^='data:'])"
)
# Every text that stands by itself, as a person would read it.
SHOWN = (
    "const texts = new Set(); for (const e of document.querySelectorAll('h1, bdi, li, dd, p, span, option')) "
    "{ texts.add(e.textContent); texts.add(e.textContent.trim()); } return arguments[0].filter((t) => !texts.has(t))"
)


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def record_of(texts: list[str], **changed) -> RunRecord:
    """A record of which every field that can hold a text holds them."""
    everywhere = {text: text for text in texts}
    first = texts[0]
    fields = {
        "study": first, "run_id": first, "title": first, "asked": first, "created": first, "seeds": [0],
        "config": {"model": first, "candidates": texts, **everywhere}, "notes": texts, "data": everywhere,
        "checkpoints": everywhere, "packages": everywhere, "commit": {"commit": first, "dirty": first},
        "hardware": everywhere,
    }  # fmt: skip
    return RunRecord(**fields | changed)


def hostile_rows(make_audit, texts: list[str]) -> pl.DataFrame:
    """An audit with a fact, a relation, a split and a template of every name."""
    rows = make_audit(parents=len(texts), athletes=0).rows
    text = pl.col("fact").replace_strict(dict(enumerate(texts)), return_dtype=pl.String)
    columns = ("subject", "relation", "split", "template", "prompt", "source", "flag")
    return rows.with_columns(
        *(text.alias(name) for name in columns), object=text + " (object)", answer=" " + text
    ).with_columns(pl.lit(1).alias(name) for name in ("constructor", "__proto__", "<b>%{x}</b>"))


@pytest.fixture(scope="module")
def pages(make_audit, payloads, tmp_path_factory) -> dict[str, Path]:
    """An audit, a comparison, a study and a dissection, each full of names; each on a page of its own."""
    root, texts = tmp_path_factory.mktemp("hostile"), list(payloads.values())
    rows, half = hostile_rows(make_audit, texts), Estimate(0.5, 0.4, 0.6, 9, "probability").to_dict()
    measured = dict.fromkeys(("exact_match", "top1", "logprob_per_token", "margin"), half)
    summary = [
        {"relation": relation, "split": split, "direction": direction, "facts": 9, "chance": 0.1, **measured}
        for text in ("", *texts)
        for relation, split in dict.fromkeys([("", ""), (text, ""), ("", text), (text, text)])
        for direction in ("forward", "reverse", "in_context")
    ]  # fmt: skip
    skipped = pl.DataFrame({"fact": range(len(texts)), "prompt": texts, "reason": texts})
    audit = Run(record=record_of(texts, summary=summary), rows=rows, skipped=skipped)

    forgotten = rows.with_columns(exact_match=pl.col("exact_match") & (pl.col("fact") % 2 == 0))
    record = replace(audit.record, config={**audit.record.config, "model": texts[2], "seed": texts})
    after = replace(audit, record=record, rows=forgotten.filter(pl.col("fact") > 2))
    found = compare(audit, after)

    claims = [
        {
            "id": text, "text": text, "source": text, "rule": text, "verdict": text, "reason": text,
            "measured": {text: half | {"unit": text}, "__proto__": half},
        }
        for text in texts[:50]
    ]  # fmt: skip
    curves = pl.DataFrame(
        {"step": [0, 1] * 9, "quantity": [texts[i // 2] for i in range(18)], "value": range(18)}
    )
    curves = curves.with_columns(pl.lit(texts[20]).alias(texts[21])).rename(
        {"step": "<b onclick=hit=1>step</b>"}
    )
    (root / "f.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg' onload='{texts[0]}'/>")
    drawn = record_of(texts, claims=claims, figures=dict.fromkeys(texts, "f.svg"))
    runs = {
        "audit": audit,
        "compare": Run(record=found.record, rows=found.rows),
        "study": Run(record=drawn, curves=curves, folder=root),
        "dissection": Run(record=record_of(texts, claims=claims), dissection=dissected(texts).content()),
    }
    return {name: write_page([run], root / f"{name}.html") for name, run in runs.items()}


def dissected(texts: list[str]) -> Dissection:
    """A dissection with every name, and with a step of which every column has one."""
    found, columns = dissection(texts, texts), ["__proto__", "constructor", *texts]
    table = pl.DataFrame({name: [texts[i % len(texts)], texts[0]] for i, name in enumerate(columns)})
    table = table.with_columns(pl.lit(0.5).alias(texts[1]), pl.lit(0.5).alias(texts[3]))
    heat = Chart(kind="heat", x="__proto__", y="constructor", value=texts[1])
    bars = Chart(
        kind="bars", x=texts[2], y=texts[3], series="__proto__", panel="constructor", x_title=texts[4]
    )
    step = Section(id=texts[0], title=texts[1], text=texts[2], table=table, charts=(heat, bars))
    return replace(
        found, sections=(*found.sections, step), standing=dict.fromkeys(["__proto__", *texts], texts[0])
    )


def use(browser) -> None:
    """Open every fold and row, choose every choice, draw every plot and point at every point."""
    browser.execute_script(
        "document.querySelectorAll('details').forEach((d) => { d.open = true; });"
        "document.querySelectorAll('.choice').forEach((c) => [...c.querySelectorAll('input')].at(-1).click());"
        "document.querySelectorAll('.choice').forEach((c) => c.querySelector('input').click());"
        "for (let i = 0; i < 12; i++) document.querySelector('.plus[aria-expanded=false]')?.click();"
    )
    browser.execute_script(
        "for (const size of document.querySelectorAll('.row-table .pager select'))"
        " { size.value = '250'; size.dispatchEvent(new Event('change')); }"
    )
    # Every fact of a dissection's picker, and everything in its pictures.
    browser.execute_script(
        "const next = document.querySelector('[aria-label=\"Next fact\"]');"
        "while (next && !next.disabled) next.click();"
        "for (const part of document.querySelectorAll('svg [tabindex]'))"
        " part.dispatchEvent(new MouseEvent('mousemove', { clientX: 5, clientY: 5 }));"
    )
    browser.execute_script("plots.redraw(true)")
    eventually(lambda: browser.execute_script("return [...plots.drawers.keys()].every((box) => box.data)"))
    browser.execute_script(
        "for (const box of plots.drawers.keys()) box.data.forEach((trace, curveNumber) =>"
        " (trace.z ? trace.z.flat() : trace.x).forEach((_, n) => Plotly.Fx.hover(box, [{ curveNumber,"
        " pointNumber: trace.z ? [Math.floor(n / trace.x.length), n % trace.x.length] : n }])))"
    )


def assert_nothing_happened(browser, path: Path) -> None:
    assert browser.current_url.split("#")[0] == path.as_uri()
    assert browser.execute_script("return window.hit") is None
    assert browser.execute_script("return window.refused") == []
    assert browser.execute_script(BUILT, MARKUP) == []
    assert browser.execute_script("return document.scripts.length") == 3
    assert browser.execute_script("return Object.keys(Object.prototype).length + ('polluted' in {})") == 0


@pytest.mark.parametrize("name", ["audit", "compare", "study", "dissection"])
def test_nothing_runs_nothing_is_fetched_and_the_text_is_shown(pages, open_page, payloads, name) -> None:
    assert len(payloads) >= 40
    browser = open_page(pages[name])
    use(browser)
    assert_nothing_happened(browser, pages[name])
    texts = list(payloads.values())
    assert browser.execute_script(SHOWN, texts) == []
    if name in ("audit", "compare"):
        script = "return [...document.querySelector('table.rows').querySelectorAll('td bdi')].map((e) => e.textContent)"
        cells = {cell.strip() for cell in browser.execute_script(script)}
        assert [text for text in texts if text.strip() not in cells] == []
        options = "return [...document.querySelectorAll('.filters option')].map((e) => e.textContent)"
        offered = set(browser.execute_script(options))
        assert {text.replace("_", " ") for text in texts} <= offered
    if name == "dissection":
        assert "could not be shown" not in browser.find_element("tag name", "main").text
        options = "return [...document.querySelectorAll('.fact-choice option')].map((e) => e.textContent)"
        offered = browser.execute_script(options)
        # Names stand in the order of the facts; which one is first depends on how many texts went before.
        first = next(i for i in range(len(texts)) if offered[0].startswith(texts[i]))
        turned = [*texts[first:], *texts[:first]]
        assert [
            text for text, option in zip(turned, offered, strict=True) if not option.startswith(text)
        ] == []
        heads = "return [...document.querySelectorAll('.step:last-of-type th bdi')].map((e) => e.textContent)"
        assert {text.replace("_", " ") for text in texts} <= set(browser.execute_script(heads))
        assert {text.replace("_", " ") for text in texts} <= set(browser.execute_script(heads))
    fits = "const page = document.documentElement; return page.scrollWidth <= page.clientWidth"
    assert browser.execute_script(fits)


def test_the_download_holds_no_formula(pages, open_page, downloads, payloads) -> None:
    browser = open_page(pages["audit"])
    text = browser.execute_script(
        "const t = new Table(CONTENT.runs[0].rows); return csv(t, [...Array(t.length).keys()])"
    )
    header, *lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    assert header[:4] == ["fact", "subject", "relation", "object"]
    assert len(lines) == 3 * len(payloads)
    numbers = {"logprob", "logprob_per_token", "margin", "random_logprob"}
    texts = [i for i, column in enumerate(header) if column not in numbers]
    first = {
        line[i].lstrip(" \t\r\n\u00a0\ufeff\u200b\u202e\u2066")[:1]
        for line in [header, *lines]
        for i in texts
    }
    assert not first & set("=+-@＝＋－＠")
    for line, (kind, text) in zip(lines[::3], payloads.items(), strict=True):
        assert line[1].replace("'", "") == text.replace("'", "")  # nothing but apostrophes is added
        assert (line[1] == text) == ("formula" not in kind) or text[0] in "-+@="
    # What splits a line elsewhere (";", a tab) must not let a formula begin there.
    assert not any(f"{split}=" in cell for line in lines for cell in line for split in ";\t")


def test_a_column_may_have_any_name(open_page, tmp_path, payloads) -> None:
    rows = pl.DataFrame({"subject": ["a"], "relation": ["b"], "object": ["c"], "direction": ["forward"]})
    rows = rows.with_columns(*(pl.lit(text).alias(text) for text in payloads.values() if len(text) < 1000))
    browser = open_page(write_page([Run(record=record_of(["x"]), rows=rows)], tmp_path / "page.html"))
    use(browser)
    heads = browser.execute_script(
        "return [...document.querySelectorAll('.menu-body bdi')].map((e) => e.textContent)"
    )
    assert heads[4:] == [t.replace("_", " ") for t in payloads.values() if len(t) < 1000]
    text = browser.execute_script("const t = new Table(CONTENT.runs[0].rows); return csv(t, [0])")
    header = next(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert not [cell for cell in header if cell.lstrip()[:1] in tuple("=+-@＝")]
    assert_nothing_happened(browser, tmp_path / "page.html")


def test_classes_directions_and_verdicts_of_elsewhere_do_nothing(
    open_page, tmp_path, payloads, make_audit
) -> None:
    """These words choose colours and shapes; a table from elsewhere may hold any."""
    texts = list(payloads.values())
    rows = hostile_rows(make_audit, texts)
    text = pl.col("fact").replace_strict(dict(enumerate(texts)), return_dtype=pl.String)
    odd = rows.with_columns(
        text.alias("class"),
        pl.when(pl.col("direction") == "in_context").then(text).otherwise("direction").alias("direction"),
    )
    changed = rows.unique("fact", maintain_order=True).with_columns(
        text.alias("change"), text.alias("class_before"), text.alias("class_after"),
        forward_per_token_before=-1.0, forward_per_token_after=-0.5,
    )  # fmt: skip
    runs = [Run(record=record_of(texts), rows=table) for table in (odd, changed)]
    for place, run in enumerate(runs):
        path = write_page([run], tmp_path / f"{place}.html")
        browser = open_page(path)
        use(browser)
        assert_nothing_happened(browser, path)


def test_a_part_that_cannot_be_shown_hides_no_other(open_page, tmp_path) -> None:
    """A record from elsewhere may hold anything that is JSON; the page says which part it could not read."""
    claims, summary = [{"id": "Z", "measured": {"a": None}}], [{"direction": "forward", "exact_match": 3}]
    broken = record_of(["x"], claims=claims, summary=summary, notes=["kept"])
    dissected = {"asked": 3, "pictures": [{"title": 4}, 5], "sections": [{"table": None}], "standing": None}
    browser = open_page(write_page([Run(record=broken, dissection=dissected)], tmp_path / "page.html"))
    text = browser.find_element("tag name", "main").text
    assert "could not be shown" in text
    assert "kept" in text
    assert "How to trace these numbers" in text


def test_a_page_without_our_care_is_caught(another_browser, tmp_path, payloads) -> None:
    """The positive control: the same names put into a page as markup do run, fetch and build elements."""
    browser, path = another_browser, tmp_path / "naive.html"
    texts = (text for kind, text in payloads.items() if "refresh" not in kind)
    raw = "".join(f"<p>{text.replace('alert(', '(')}</p>" for text in texts)
    path.write_text(f"<meta charset=utf-8>{raw}", encoding="utf-8")
    browser.get_log("performance")
    browser.get(path.as_uri())
    eventually(lambda: browser.execute_script("return window.hit") == 1)
    assert browser.execute_script(BUILT, MARKUP)
    asked = [entry["message"] for entry in browser.get_log("performance")]
    assert any("hit.test" in message for message in asked)
