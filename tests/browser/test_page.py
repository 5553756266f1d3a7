"""The report in a real browser, from a file: what a reader sees, clicks and takes away."""

import csv
import io
import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import polars as pl
import pytest

from oneway.evidence import Claim, over_seeds
from oneway.report import Run, write_page, write_report

pytestmark = pytest.mark.browser

WIDE, NARROW = 1280, 390


@pytest.fixture(scope="module")
def demo(make_audit, tmp_path_factory) -> tuple:
    """The size of the demo: 500 parents in three splits, 1,500 athletes."""
    audit = make_audit()
    return audit, write_report(audit.record, audit.rows, tmp_path_factory.mktemp("demo") / "report.html")


def css(browser, selector: str) -> list:
    return browser.find_elements("css selector", selector)


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def plotted(browser) -> int:
    """Points in the picture of all facts, drawn when it comes into sight."""
    browser.execute_script("document.getElementById('scatter').scrollIntoView()")
    count = "const d = document.getElementById('scatter').data; return d ? d.reduce((n, t) => n + t.x.length, 0) : -1"
    eventually(lambda: browser.execute_script(count) >= 0)
    return browser.execute_script(count)


def shown_rows(browser) -> list[list[str]]:
    """The texts of the rows on view, without the cell that opens them."""
    script = (
        "return [...document.querySelectorAll('table.rows')[0].tBodies[0].rows]"
        ".map((row) => [...row.cells].slice(1).map((cell) => cell.textContent))"
    )
    return browser.execute_script(script)


def told(browser) -> str:
    return css(browser, ".told")[0].text


def search(browser, text: str, expected: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = css(browser, ".filters input[type=search]")[0]
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE, text)
    eventually(lambda: told(browser).startswith(expected))


def found_by(rows: pl.DataFrame, text: str) -> int:
    """How many rows a search must find: every word somewhere in the row's texts, marks and case aside."""

    def plain(value: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFD", value) if not unicodedata.combining(c)).lower()

    texts = [plain("\n".join(v for v in row if isinstance(v, str))) for row in rows.iter_rows()]
    return sum(all(word in whole for word in plain(text).split()) for whole in texts)


def choose(browser, label: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    picker = next(p for p in css(browser, ".filters .picker") if p.text.startswith(label))
    Select(picker.find_element("css selector", "select")).select_by_visible_text(text)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_nothing_scrolls_sideways_or_overlaps(demo, open_page, width) -> None:
    browser = open_page(demo[1], width)
    plotted(browser)
    assert browser.execute_script("return window.innerWidth") == width
    fits = "const page = document.documentElement; return page.scrollWidth <= page.clientWidth"
    assert browser.execute_script(fits)
    # Blocks of the page stand below one another, and no label is wider than its place.
    edges = browser.execute_script(
        "return [...document.querySelectorAll('main > *')].map((block) => block.getBoundingClientRect())"
        ".map((box) => [box.top, box.bottom])"
    )
    assert len(edges) >= 6
    assert all(above[1] <= below[0] + 0.5 for above, below in pairwise(edges))
    labels = "h1, h2, h3, th, td, .tile p, .choice span, .told"
    cut = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter((e) => e.offsetParent &&"
        " e.scrollWidth > e.clientWidth + 1 && !e.closest('.opener')).map((e) => e.textContent)",
        labels,
    )
    assert cut == []


def test_headline_is_the_records(demo, open_page) -> None:
    audit, path = demo
    browser = open_page(path)
    tiles = css(browser, ".tile")
    pooled = {s["direction"]: s for s in audit.record.summary if s["relation"] == "" and s["split"] == ""}
    assert [t.find_element("tag name", "h3").text for t in tiles] == ["Forward", "Reverse", "In context"]
    for tile, direction in zip(tiles, ("forward", "reverse", "in_context"), strict=True):
        said = float(tile.find_element("class name", "big").text.rstrip("%")) / 100
        assert said == pytest.approx(pooled[direction]["exact_match"]["mean"], abs=0.005)
        assert "2,000 facts" in tile.text
    next(label for label in css(browser, ".choice label") if label.text == "unseen").click()
    assert "50 facts" in css(browser, ".tile")[0].text


def test_class_counts_are_the_tables(demo, open_page) -> None:
    audit, path = demo
    browser = open_page(path)
    counts = dict(audit.rows.unique("fact")["class"].value_counts().iter_rows())
    cells = css(browser, "table.classes tbody tr")[0].find_elements("css selector", "td.numeric")
    names = ("both_ways", "forward_only", "reverse_only", "in_context_only", "neither")
    assert [cell.text.replace(",", "") for cell in cells] == [str(counts.get(name, "·")) for name in names]


def test_one_point_per_fact_and_a_click_shows_its_rows(demo, open_page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = open_page(demo[1])
    assert plotted(browser) == 2000
    box = css(browser, "#scatter")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    x, y, fact = browser.execute_script(
        "const b = arguments[0], l = b._fullLayout, t = b.data[0], r = b.getBoundingClientRect();"
        "return [l.xaxis._offset + l.xaxis.c2p(t.x[0]) - r.width / 2,"
        " l.yaxis._offset + l.yaxis.c2p(t.y[0]) - r.height / 2, t.customdata[0]]",
        box,
    )
    ActionChains(browser).move_to_element_with_offset(box, round(x), round(y)).perform()
    card = css(browser, ".card")[0]
    eventually(card.is_displayed)
    assert "rank" in card.text
    subject = card.text.split(" · ")[0]
    ActionChains(browser).click().perform()
    eventually(lambda: told(browser).startswith("3 rows of 1 fact"))
    assert {row[0] for row in shown_rows(browser)} == {subject}
    assert plotted(browser) == 2001  # all facts, and the ring around this one
    assert isinstance(fact, int)


def test_search_filters_and_sorts(demo, open_page) -> None:
    audit, path = demo
    browser = open_page(path)
    assert told(browser) == "All 6,000 rows of 2,000 facts"

    choose(browser, "Split", "unseen")
    choose(browser, "Direction", "in context")
    assert told(browser).startswith("50 rows of 50 facts")
    assert plotted(browser) == 50
    choose(browser, "Whole answer right", "no")
    wrong = audit.rows.filter(split="unseen", direction="in_context", exact_match=False)
    assert told(browser).startswith(f"{wrong.height} row")

    next(b for b in css(browser, ".filters-end button") if b.text == "Show all").click()
    assert told(browser) == "All 6,000 rows of 2,000 facts"
    expected = found_by(audit.rows, "MÍLO grau")
    assert 0 < expected < 1000
    search(browser, "MÍLO grau", f"{expected} rows of")

    search(browser, "", "All")
    button = css(browser, "[data-column=logprob_per_token]")[0]
    button.click()
    column = css(browser, "table.rows thead th").index(
        css(browser, "[data-column=logprob_per_token]")[0].find_element("xpath", "..")
    )
    lowest = [float(row[column - 1].replace("−", "-")) for row in shown_rows(browser)]
    assert lowest == pytest.approx(audit.rows["logprob_per_token"].sort().head(25).to_list(), abs=0.0006)
    assert css(browser, "th[aria-sort=ascending]")
    css(browser, "[data-column=logprob_per_token]")[0].click()
    highest = [float(row[column - 1].replace("−", "-")) for row in shown_rows(browser)]
    expected = audit.rows["logprob_per_token"].sort(descending=True).head(25).to_list()
    assert highest == pytest.approx(expected, abs=0.0006)


def test_every_column_sorts_and_pages_turn(demo, open_page) -> None:
    audit, path = demo
    browser = open_page(path)
    css(browser, ".menu > summary")[0].click()
    for box in css(browser, ".menu-body input"):
        if not box.is_selected():
            box.click()
    css(browser, ".menu > summary")[0].click()
    names = browser.execute_script(
        "return [...document.querySelectorAll('[data-column]')].map((b) => b.dataset.column)"
    )
    assert names == audit.rows.columns
    for name in names:
        browser.execute_script("arguments[0].click()", css(browser, f"[data-column={name}]")[0])
        assert css(browser, f"th[aria-sort=ascending] [data-column={name}]")
        assert len(shown_rows(browser)) == 25
    browser.execute_script("document.querySelector('[aria-label=\"Last page\"]').click()")
    assert "5,976–6,000 of 6,000" in css(browser, ".pages")[0].text


def test_download_holds_the_filtered_rows_in_their_order(
    make_audit, open_page, downloads, tmp_path, hostile
) -> None:
    audit = make_audit(parents=30, athletes=0, hostile=hostile)
    browser = open_page(write_report(audit.record, audit.rows, tmp_path / "r.html"))
    choose(browser, "Direction", "forward")
    css(browser, "[data-column=subject]")[0].click()
    css(browser, ".download")[0].click()
    file = downloads / f"audit-{audit.record.run_id}.csv"
    eventually(file.exists)
    text = file.read_bytes().decode("utf-8-sig")
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    expected = audit.rows.filter(direction="forward")
    assert header == expected.columns
    assert len(lines) == expected.height
    found = {line[header.index("subject")] for line in lines}
    # A leading apostrophe keeps a spreadsheet from reading a name as a formula; nothing else is changed.
    assert found == {f"'{s}" if s[0] in "=+-@" else s for s in expected["subject"]}
    assert any(name.startswith("'=HYPERLINK") for name in found)
    by_subject = {line[header.index("subject")].lstrip("'"): line for line in lines}
    for row in expected.iter_rows(named=True):
        line = by_subject[row["subject"]]
        assert float(line[header.index("logprob")]) == pytest.approx(row["logprob"], rel=1e-6)  # not "'-2.3"
        assert line[header.index("exact_match")] == ("yes" if row["exact_match"] else "no")
    file.unlink()


def test_names_show_as_they_are(make_audit, open_page, tmp_path, hostile) -> None:
    audit = make_audit(parents=5, athletes=0, hostile=hostile)
    record = audit.record.to_dict() | {"title": hostile[1], "asked": hostile[0], "notes": list(hostile)}
    path = write_report(type(audit.record)(**record), audit.rows, tmp_path / "r.html")
    browser = open_page(path)
    assert css(browser, "h1")[0].text == hostile[1]
    assert [
        e.get_attribute("textContent") for e in css(browser, ".notes")[0].find_elements("tag name", "li")
    ] == list(hostile)
    forward = {row[0] for row in shown_rows(browser)}
    css(browser, "[aria-label='Next page']")[0].click()
    forward |= {row[0] for row in shown_rows(browser)}
    assert set(hostile) <= forward
    assert (
        browser.execute_script(
            "return document.images.length + document.querySelectorAll('main script, main a').length"
        )
        == 0
    )
    for place in range(3):
        browser.execute_script("arguments[0].click()", css(browser, ".plus")[place])
    assert len(css(browser, "tr.opened")) == 3
    search(browser, "", "All")
    plotted(browser)


def test_a_study_shows_verdicts_figures_and_curves(open_page, tmp_path, make_audit) -> None:
    from matplotlib.figure import Figure

    from oneway.evidence import RunRecord
    from oneway.report.figures import picture

    drawn = Figure(figsize=(3, 2))
    drawn.subplots().plot([0, 1], [0, 1])
    (tmp_path / "f.svg").write_bytes(picture(drawn, "svg"))
    claim = Claim(
        id="Z3", text="a < b", source="nobody", rule="<i>rule</i>",
        control=lambda m: True, supports=lambda m: True, refutes=lambda m: False,
    )  # fmt: skip
    judged = claim.judge({"reverse": over_seeds([0.1, 0.2, 0.15], "probability")}).to_dict()
    record = RunRecord(
        study="s", run_id="r", title="t", asked="a", config={}, claims=[judged], seeds=[0, 1], figures={"f": "f.svg"}
    )  # fmt: skip
    curves = pl.DataFrame(
        [
            {"seed": seed, "epoch": epoch, "quantity": quantity, "value": seed + epoch * rate}
            for seed in (0, 1)
            for epoch in (0, 1, 2)
            for quantity, rate in (("loss", 1.0), ("<b>share</b>", 2.0))
        ]
    )
    browser = open_page(write_report(record, None, tmp_path / "r.html", curves=curves))
    assert css(browser, ".badge")[0].text == "✓ reproduced"
    assert "<i>rule</i>" in css(browser, ".claim")[0].text
    image = css(browser, "figure img")[0]
    eventually(lambda: browser.execute_script("return arguments[0].naturalWidth", image) > 0)
    assert [e.text for e in css(browser, ".panel-title")] == ["loss", "<b>share</b>"]
    browser.execute_script("document.querySelector('.curve').scrollIntoView()")
    eventually(
        lambda: browser.execute_script("return [...document.querySelectorAll('.curve')].every((c) => c.data)")
    )
    lines = browser.execute_script("return document.querySelectorAll('.curve')[1].data.map((t) => t.y)")
    assert lines == [[0, 2, 4], [1, 3, 5], [0.5, 2.5, 4.5]]  # two seeds and their mean


def test_several_runs_are_shown_one_at_a_time(make_audit, open_page, tmp_path) -> None:
    audits = [make_audit(parents=n, athletes=0) for n in (12, 20)]
    runs = [Run(record=audit.record, rows=audit.rows) for audit in audits]
    browser = open_page(write_page(runs, tmp_path / "r.html"))
    assert told(browser) == "All 36 rows of 12 facts"
    css(browser, "#runs label")[1].click()
    assert told(browser) == "All 60 rows of 20 facts"
    assert plotted(browser) == 20


def test_a_hundred_thousand_rows_stay_quick(make_audit, open_page, tmp_path) -> None:
    audit = make_audit(parents=1000, athletes=32500)
    browser = open_page(write_report(audit.record, audit.rows, tmp_path / "r.html"))
    assert told(browser).startswith("All 100,500 rows")
    assert plotted(browser) == 33500
    milliseconds = browser.execute_script(
        "const start = performance.now(); document.querySelector('[data-column=rank]').click();"
        "document.querySelector('[data-column=subject]').click();"
        "document.querySelector('[aria-label=\"Next page\"]').click(); return performance.now() - start"
    )
    assert milliseconds < 2000
    search(browser, "hauge 77", f"{found_by(audit.rows, 'hauge 77'):,} rows of")
