"""Results as a notebook shows them: a title, tables, a picture; no script, nothing fetched, no markup of a file's."""

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from oneway.evidence.record import printable
from oneway.report.figures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = "padding: 0.15em 0.8em; white-space: nowrap; text-align:"


def shown(title: str, tables: Sequence[Table | Text], figure: "Figure | None" = None) -> str:
    """HTML of a result: its title, tables or lines as the terminal has them, and a printed figure below."""
    parts = [f"<h4>{escape(printable(title))}</h4>"]
    for part in tables:
        parts.append(_table(part) if isinstance(part, Table) else f"<p>{escape(part.plain)}</p>")
    if figure is not None:
        encoded = base64.b64encode(picture(figure, "png")).decode("ascii")
        parts.append(f'<img src="data:image/png;base64,{encoded}" style="width: 100%; max-width: 860px">')
    return f"<div>{''.join(parts)}</div>"


def _table(table: Table) -> str:
    sides = ["right" if column.justify == "right" else "left" for column in table.columns]
    heads = [_cell("th", column.header, side) for column, side in zip(table.columns, sides, strict=True)]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    lines = ["".join(_cell("td", cell, side) for cell, side in zip(row, sides, strict=True)) for row in rows]
    return f"<table><tr>{''.join(heads)}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(kind: str, content: object, side: str) -> str:
    text = content.plain if isinstance(content, Text) else str(content)
    return f'<{kind} style="{_CELL} {side}">{escape(text)}</{kind}>'
