"""Records in, one page out: a single HTML file that needs no network and holds its data as data."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneway.evidence import RunRecord, atomic
from oneway.report.columns import packed
from oneway.report.palette import CLASSES, CYCLE, DIRECTIONS, SYMBOLS, css_variables

if TYPE_CHECKING:
    import polars as pl

# In the order in which they are read; each uses only what stands above it.
_SCRIPTS = (
    *("dom", "data", "summary", "relations", "plots", "claims", "curves"),
    *("filters", "scatter", "rows", "compare", "circuit", "charts", "steps", "factpath", "dissect"),
    *("details", "page"),
)
_PICTURES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the page shows of one run: its record, the tables that it has, and where its figures lie.

    `dissection` is what `Dissection.content` gives, or `read_dissection` finds in a run's folder.
    """

    record: RunRecord
    rows: "pl.DataFrame | None" = None
    curves: "pl.DataFrame | None" = None
    skipped: "pl.DataFrame | None" = None
    dissection: Mapping[str, Any] | None = None
    folder: Path | None = None


def write_report(
    record: RunRecord,
    rows: "pl.DataFrame | None",
    path: Path | str,
    curves: "pl.DataFrame | None" = None,
    skipped: "pl.DataFrame | None" = None,
) -> Path:
    """Write one run's page.

    `rows` is an audit's table (one row per fact, direction and template), `skipped` its questions that could
    not be scored (with a column `reason`), `curves` a study's table; `path` is the page, beside which lie the
    record's figures. Raises WriteError where the page cannot be written.
    """
    path = Path(path)
    run = Run(record=record, rows=rows, curves=curves, skipped=skipped, folder=path.parent)
    return write_page([run], path)


def write_page(runs: Sequence[Run], path: Path | str) -> Path:
    """Write one page with several runs, one at a time on view.

    Raises ValueError without any run, WriteError where the page cannot be written.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    return atomic.write_text(Path(path), page(runs))


def page(runs: Sequence[Run]) -> str:
    """The page as text.

    Every string of a file stands in one JSON block, where "<", ">" and "&" are escaped, and reaches the
    reader as text nodes only. Scripts run by their hash alone, and nothing can be fetched or sent.
    """
    from plotly.offline import get_plotlyjs

    content = {"runs": [_content(run) for run in runs], "symbols": SYMBOLS, "cycle": len(CYCLE)}
    content["directions"], content["classes"] = list(DIRECTIONS), list(CLASSES)
    scripts = {
        "plotly": _inline(get_plotlyjs()),
        "script": _inline("".join(_part(f"{name}.js") for name in _SCRIPTS)),
    }
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts.values())
    return _filled(
        _part("page.html"),
        {
            # Plotly compiles its WebGL shaders' wrappers from strings, hence unsafe-eval; no data reach them.
            "policy": f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'",
            "style": css_variables() + _part("page.css"),
            "data": as_script_data(content),
            **scripts,
        },
    )


def as_script_data(content: Any) -> str:
    """JSON that may stand inside a script element: no text in it can end the element or open another."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found.group()):04x}", text)


def _content(run: Run) -> dict[str, Any]:
    return {
        "record": run.record.to_dict(),
        "rows": None if run.rows is None else packed(run.rows),
        "curves": None if run.curves is None else packed(run.curves),
        "skipped": None if run.skipped is None else packed(run.skipped),
        "dissection": run.dissection,
        "figures": list(_figures(run)),
    }


def _figures(run: Run) -> Iterator[dict[str, str]]:
    """The record's figures as data URLs: the vector form where there is one, each picture once.

    A picture is shown as an image, in which no script runs. A name that leaves the run's folder is passed
    over: a record may come from elsewhere.
    """
    if run.folder is None:
        return
    folder = run.folder.resolve()
    found = {name: _inside(folder, file) for name, file in run.record.figures.items()}
    inside = {name: path for name, path in found.items() if path is not None}
    vectors = {path.with_suffix("") for path in inside.values() if path.suffix == ".svg"}
    for name, path in inside.items():
        twin = path.suffix != ".svg" and path.with_suffix("") in vectors
        if path.suffix in _PICTURES and not twin:
            encoded = base64.b64encode(path.read_bytes()).decode("ascii")
            yield {"name": name, "source": f"data:{_PICTURES[path.suffix]};base64,{encoded}"}


def _inside(folder: Path, file: str) -> Path | None:
    """The file of that name in the folder, wherever links lead; None where there is none."""
    try:
        path = (folder / file).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of links
        return None


def _part(name: str) -> str:
    return files("oneway.report").joinpath("page", name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """A script as an element holds it: a browser reads line ends as \\n, and the hash is of what it reads."""
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("this version of plotly.js cannot stand inside an HTML page")
    return script


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _filled(template: str, parts: dict[str, str]) -> str:
    """Put the parts where the template says `{{name}}`; what a part holds is never read as a template."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found.group(1)], template)
