"""The page of a dissection in a real browser: the picture of the circuit, the picker of facts, the steps."""

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from invented import PEOPLE, dissection

from oneway.evidence import Claim, RunRecord, over_seeds
from oneway.report import Run, write_page

pytestmark = pytest.mark.browser

FOUND = dissection()
PICTURE = FOUND.pictures[0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    claims = [
        Claim(
            id=id_, text=f"The claim {id_}.", source="post 2", rule="rule",
            control=lambda m: True, supports=lambda m: True, refutes=lambda m: False,
        ).judge({"accuracy": over_seeds([0.1, 0.2], "probability")}).to_dict()
        for id_ in ("F5", "F9", "F9.from-first", "F99")
    ]  # fmt: skip
    record = RunRecord(
        study="fact-finding", run_id="r", title="Where are they kept?", asked="?", config={}, claims=claims
    )
    run = Run(record=record, dissection=FOUND.content())
    return write_page([run], tmp_path_factory.mktemp("dissection") / "report.html")


def css(browser, selector: str) -> list:
    return browser.find_elements("css selector", selector)


def texts(browser, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
    )


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def test_it_is_read_from_what_was_found_to_the_numbers(path, open_page) -> None:
    browser = open_page(path)
    assert texts(browser, ".asked") == [FOUND.asked]
    assert texts(browser, ".found") == [FOUND.found]
    assert texts(browser, "main h2")[:5] == [
        "What was found",
        "The hypotheses, as predicted and as measured",
        "The circuit",
        "One fact's path",
        "The strongest heads and neurons",
    ]
    agreed = [cell.split(" ", 1)[1] for cell in texts(browser, ".hypotheses td.truth")]
    assert agreed == ["disagrees", "agrees", "agrees", "does not tell"]
    verdicts = (
        "return [...document.querySelectorAll('.step')].map((e) => e.querySelectorAll('.claim-line').length)"
    )
    assert browser.execute_script(verdicts) == [1, 2]  # F5; F9 and F9.from-first; F99 is another step's


def test_the_picker_walks_through_the_facts(path, open_page) -> None:
    from selenium.webdriver.support.select import Select

    browser = open_page(path)
    shown = lambda: texts(browser, ".fact-name")[0]  # noqa: E731
    turn = {way: css(browser, f"[aria-label='{way} fact']")[0] for way in ("Previous", "Next")}
    assert shown() == PEOPLE[0]
    assert turn["Previous"].get_attribute("disabled")
    turn["Next"].click()
    assert shown() == PEOPLE[1]
    Select(css(browser, ".fact-choice")[0]).select_by_index(5)
    assert shown() == PEOPLE[5]
    assert turn["Next"].get_attribute("disabled")
    turn["Previous"].click()
    assert shown() == PEOPLE[4]
    css(browser, ".filters input[type=search]")[0].send_keys("cósta")
    eventually(lambda: shown() == PEOPLE[2])
    assert texts(browser, ".filters .told") == ["1 of 1 fact"]
    css(browser, ".filters input[type=search]")[0].send_keys(" nobody")
    eventually(lambda: texts(browser, ".filters .told") == ["No fact matches."])
    assert css(browser, ".fact-name") == []


def test_a_facts_path_is_its_own(path, open_page) -> None:
    """Row 2 of every table: the head's attention, the parts' effects, the probes and the neurons."""
    browser, paths = open_page(path), PICTURE.paths
    for _ in range(2):
        css(browser, "[aria-label='Next fact']")[0].click()
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.fact-path .part[aria-label]')].map((e) => e.ariaLabel)"
    )
    said = [float(label.split(": ")[1].split()[0].replace("−", "-")) for label in labels]
    assert said == pytest.approx(paths.effects[2].tolist(), rel=0.01)
    looks = browser.execute_script(
        "return [...document.querySelectorAll('.fact-path .flow')].map((e) => e.ariaLabel)"
        ".filter((t) => t.includes('looks at')).map((t) => parseFloat(t.split(': ')[1]) / 100)"
    )
    assert looks == pytest.approx([x for x in paths.attention[2, 0].tolist() if x >= 0.2], abs=0.006)
    browser.execute_script("plots.redraw(true)")
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.fact-path .plot')].map((p) => p.data.map((t) => t.y))"
    )
    for probe, panel in zip((paths.weights, paths.trained), drawn, strict=True):
        for k, line in enumerate(panel):
            assert line == pytest.approx(probe[2, :, k].tolist(), rel=0.01)
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.fact-path .neurons tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    own = paths.neurons.filter(fact=2)
    assert [(int(r[0]), int(r[1]), r[4]) for r in rows] == list(
        own.select("layer", "neuron", "writes").iter_rows()
    )


def test_pointing_says_what_a_part_is(path, open_page) -> None:
    browser = open_page(path)
    card = "return [...document.querySelectorAll('.card')].filter((c) => !c.hidden).map((c) => c.textContent)"
    assert browser.execute_script(card) == []
    point = "arguments[0].dispatchEvent(new MouseEvent('mousemove', { clientX: 300, clientY: 300 }))"
    browser.execute_script(point, css(browser, ".part")[2])
    (said,) = browser.execute_script(card)
    assert said.startswith("Head 3 of layer 2")
    assert "6 logits, 95% interval 5.8 to 6.2" in said
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('mouseleave'))", css(browser, ".part")[2]
    )
    assert browser.execute_script(card) == []
    browser.execute_script("arguments[0].focus()", css(browser, ".flow")[0])
    assert PICTURE.circuit.arrows["what"][0] in browser.execute_script(card)[0]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overlaps_and_no_label_is_cut(path, open_page, width) -> None:
    browser = open_page(path, width)
    browser.execute_script("plots.redraw(true)")
    eventually(lambda: browser.execute_script("return [...plots.drawers.keys()].every((box) => box.data)"))
    fits = "const page = document.documentElement; return page.scrollWidth <= page.clientWidth"
    assert browser.execute_script(fits)
    edges = browser.execute_script(
        "return [...document.querySelectorAll('main section, main .step')].map((b) => b.getBoundingClientRect())"
        ".map((box) => [box.top, box.bottom])"
    )
    assert len(edges) > 6
    assert [edge[0] for edge in edges] == sorted(edge[0] for edge in edges)
    blocks = browser.execute_script(
        "return [...document.querySelectorAll('main > *')].map((b) => b.getBoundingClientRect())"
        ".map((box) => [box.top, box.bottom])"
    )
    assert all(above[1] <= below[0] + 0.5 for above, below in pairwise(blocks))
    cut = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, h4, th, td, .choice span, .told, .key')].filter((e) =>"
        " e.offsetParent && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"
    )
    assert cut == []
    outside = browser.execute_script(
        "return [...document.querySelectorAll('svg.circuit text')].filter((t) => { const a = t.getBoundingClientRect(),"
        " b = t.closest('svg').getBoundingClientRect(); return a.left < b.left || a.right > b.right || a.top < b.top"
        " || a.bottom > b.bottom; }).map((t) => t.textContent)"
    )
    assert outside == []


def test_every_kind_of_chart_is_drawn(path, open_page) -> None:
    browser = open_page(path)
    browser.execute_script("plots.redraw(true)")
    eventually(lambda: browser.execute_script("return [...plots.drawers.keys()].every((box) => box.data)"))
    kinds = browser.execute_script(
        "return [...document.querySelectorAll('.step .plot')].map((p) => p.data.map((t) => t.mode || t.type))"
    )
    band = ["lines", "lines", "lines+markers"]
    assert kinds == [band * 2, ["bar"], ["bar"], ["markers"] * 2, ["heatmap"]]
    table = FOUND.sections[0].table.filter(probe="own")
    line = browser.execute_script("return document.querySelector('.step .plot').data[2]")
    assert line["y"] == table["accuracy"].to_list()
    heat = browser.execute_script("return [...document.querySelectorAll('.step .plot')].at(-1).data[0].z")
    assert heat == [[0.2, None], [None, -0.1]]
