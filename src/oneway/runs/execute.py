"""Runs a study on this machine: experiment, measurement, verdicts, and everything on disk."""

import dataclasses
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneway.evidence import Audited, Measured, Pictured, RunRecord, Study
from oneway.evidence.atomic import make_folder
from oneway.evidence.record import RESUMED, code_version, hardware
from oneway.runs.directory import RunDirectory, RunError
from oneway.runs.unfinished import open_run

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

ROOT = Path("runs")
CURVES, PAGE, WORKSPACE = "curves.parquet", "report.html", "workspace"


def run_study(
    study: Study[Any],
    recipe: str = "quick",
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    out: Path | str | None = None,
    given: Mapping[str, str] | None = None,
) -> tuple[RunRecord, RunDirectory]:
    """Run a study's recipe, judge its claims and write the run's folder.

    `seeds` stand in for the recipe's own, and so does what is `given` for a field of its config by name (model,
    facts, relations, text); `out` is the folder of this run (by default a new one,
    `runs/<study>/<run id>`). A run that was killed goes on from its last checkpoint when it is asked again
    with the same recipe, seeds, device and version, and ends with the same numbers. Where `out` holds the
    finished run of this very question, its record is returned.

    Returns the record and the folder that holds record.json, curves.parquet (of an audit per_fact.parquet),
    tables/ where the study has further ones, figures/ and report.html.
    Raises RunError where recipe, seeds, device, folder or what is given cannot be used as asked; WriteError
    where the disk refuses; and what the study's check raises, before anything is written.
    """
    config = _configured(study, recipe, seeds, device, given or {})
    study.check(config)
    asked = {
        "study": study.name,
        "recipe": recipe,
        "config": _plain(config),
        "code": code_version(),
    }
    with open_run(ROOT, study.name, asked, Path(out) if out is not None else None) as directory:
        workspace = directory.file(WORKSPACE)
        if not directory.finished:
            resumed = workspace.exists()
            started = time.perf_counter()
            found = study.experiment(config, tuple(config.seeds), make_folder(workspace))
            conclude(study, recipe, config, found, directory, time.perf_counter() - started, resumed)
        shutil.rmtree(workspace, ignore_errors=True)
    return directory.read_record(), directory


def conclude(
    study: Study[Any],
    recipe: str,
    config: Any,
    found: "pl.DataFrame | Audited | Pictured",
    directory: RunDirectory,
    seconds: float,
    resumed: bool,
) -> RunRecord:
    """Measure what an experiment found, judge the claims and write tables, figures, page and, last, the record.

    Needs nothing of the experiment: curves, or an audit, may come from anywhere.
    """
    from oneway.report import DISSECTION, Run, save_run, write_page

    table = _rows(found)
    measured = study.measure(table)
    judged: dict[str, Any] = {
        "study": study.name,
        "run_id": directory.path.name,
        "title": study.title,
        "claims": [judgement.to_dict() for judgement in study.judge(measured)],
        "seeds": list(config.seeds),
        "wall_seconds": round(seconds, 3),
        "hardware": _hardware(config),
    }
    figure = study.figure(measured, table)
    if isinstance(found, Audited):
        record = dataclasses.replace(
            found.record,
            **judged,
            asked=f"{_claims(judged)} {found.record.asked} The rule of each verdict was fixed before the run.",
            config={"recipe": recipe, study.name: _plain(config), **found.record.config},
            notes=list(dict.fromkeys([*([RESUMED] if resumed else []), *found.record.notes])),
            figures={f"{study.name}.{kind}": f"figures/{study.name}.{kind}" for kind in ("svg", "png")},
        )
        if isinstance(figure, Mapping):
            raise TypeError(f"study {study.name} hands back an audit, which has one figure")
        save_run(Run(record=record, rows=found.rows, skipped=found.skipped), figure, directory.path)
        return record
    directory.write_parquet(CURVES, table)
    record = RunRecord(
        **judged,
        asked=_question(judged, recipe, len(config.seeds)),
        config={"recipe": recipe, **_plain(config)},
        notes=[*([RESUMED] if resumed else []), *_not_asked(study, measured)],
        tables={"curves": CURVES, **_write_tables(study.tables(measured, table), directory)},
        figures=_write_figures(figure, study.name, directory),
    )
    dissection = found.dissection if isinstance(found, Pictured) else None
    if dissection is not None:
        directory.write_json(DISSECTION, dissection)
    write_page(
        [Run(record=record, curves=table, dissection=dissection, folder=directory.path)], directory.file(PAGE)
    )
    directory.write_record(record)
    return record


def _rows(found: "pl.DataFrame | Audited | Pictured") -> "pl.DataFrame":
    if isinstance(found, Audited):
        return found.rows
    return found.curves if isinstance(found, Pictured) else found


def _claims(judged: Mapping[str, Any]) -> str:
    count = len(judged["claims"])
    return "Does this claim hold?" if count == 1 else f"Do these {count} claims hold?"


def _question(judged: Mapping[str, Any], recipe: str, seeds: int) -> str:
    return (
        f"{_claims(judged)} {seeds} independent models were trained from {seeds} seeds with the recipe "
        f"{recipe!r}; the rule of each verdict was fixed before the run."
    )


def _not_asked(study: Study[Any], measured: Measured) -> list[str]:
    """A note on the claims that this recipe does not measure; none where it measures all."""
    left = [claim.id for claim in study.claims if not claim.asked_in(measured)]
    return [f"Not asked by this recipe: {', '.join(left)}."] if left else []


def _configured(
    study: Study[Any], recipe: str, seeds: Sequence[int] | None, device: str, given: Mapping[str, str]
) -> Any:
    config = study.config(recipe)
    changes: dict[str, Any] = dict(given)
    for name in given:
        if not isinstance(getattr(config, name, None), str):
            raise RunError(f"study {study.name} cannot be given another {name}: leave --{name} out")
    if seeds is not None:
        if not seeds or len(set(seeds)) != len(seeds):
            raise RunError(f"seeds must be different numbers, at least one: {list(seeds)}")
        changes["seeds"] = tuple(seeds)
    if "device" in {field.name for field in dataclasses.fields(config)}:
        changes["device"] = _resolved(device)
    elif device not in ("auto", "cpu"):
        raise RunError(f"study {study.name} runs on the processor only; it cannot use {device!r}")
    return dataclasses.replace(config, **changes)


def _resolved(device: str) -> str:
    """The device by its name, "auto" decided. Raises RunError where this machine has no such device."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise RunError(f"{device!r} is not a device; use auto, cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise RunError("this machine has no CUDA device that torch can use; use --device cpu")
    return device


def _hardware(config: Any) -> dict[str, Any]:
    found = hardware()
    device = _plain(config).get("device", "cpu")
    if str(device).startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _plain(config: Any) -> dict[str, Any]:
    """A config as JSON holds it."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str, allow_nan=False))
    return plain


def _write_tables(tables: "Mapping[str, pl.DataFrame]", directory: RunDirectory) -> dict[str, str]:
    files = {name: f"tables/{name}.parquet" for name in tables}
    for name, table in tables.items():
        directory.write_parquet(files[name], table)
    return files


def _write_figures(
    drawn: "Figure | Mapping[str, Figure]", name: str, directory: RunDirectory
) -> dict[str, str]:
    from oneway.report.figures import picture

    files: dict[str, str] = {}
    for title, figure in (drawn if isinstance(drawn, Mapping) else {name: drawn}).items():
        for kind in ("svg", "png"):
            directory.write_bytes(f"figures/{title}.{kind}", picture(figure, kind))
            files[f"{title}.{kind}"] = f"figures/{title}.{kind}"
    return files
