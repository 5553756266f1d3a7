"""What a notebook shows of a result: text as text, columns as they are set, one picture."""

import base64

from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from oneway.report.notebook import shown


def test_what_a_file_says_is_no_markup():
    table = Table("<b>facts</b>")
    table.add_row(Text("<img src=x onerror=alert(1)>"))
    html = shown("<script>alert(1)</script>\x1b[31m", [table, Text("a & b")])
    for text in ("&lt;b&gt;facts&lt;/b&gt;", "&lt;img src=x", "&lt;script&gt;", "<p>a &amp; b</p>"):
        assert text in html
    for markup in ("<script", "<img", "<b>", "\x1b"):
        assert markup not in html


def test_cells_stand_in_their_rows_and_on_their_sides():
    table = Table("name")
    table.add_column("n", justify="right")
    table.add_row("one", "1")
    table.add_row(Text("two"), Text("2", style="dim"))
    html = shown("title", [table])
    assert html.count("<tr>") == 3
    assert html.count("text-align: right") == 3
    assert html.index(">one<") < html.index(">1<") < html.index(">two<") < html.index(">2<")


def test_the_picture_is_in_the_text_itself():
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    html = shown("title", [], figure)
    encoded = html.split("data:image/png;base64,")[1].split('"')[0]
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    assert html == shown("title", [], figure)
