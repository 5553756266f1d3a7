"""Runs a study on this machine: experiment, measurement, verdicts, and everything on disk."""

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneway.evidence import RunRecord, Study
from oneway.evidence.record import hardware, package_versions, source_commit
from oneway.runs.directory import RunDirectory, RunError
from oneway.runs.unfinished import open_run

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

ROOT = Path("runs")
CURVES, PAGE, _WORKSPACE = "curves.parquet", "report.html", "workspace"


def run_study(
    study: Study[Any],
    recipe: str = "quick",
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    out: Path | str | None = None,
) -> tuple[RunRecord, RunDirectory]:
    """Run a study's recipe, judge its claims and write the run's folder.

    `seeds` stand in for the recipe's own; `out` is the folder of this run (by default a new one,
    `runs/<study>/<run id>`). A run that was killed goes on from its last checkpoint when it is asked again
    with the same recipe, seeds, device and version, and ends with the same numbers.

    Returns the record and the folder that holds record.json, curves.parquet, figures/ and report.html.
    Raises RunError where recipe, seeds, device or folder cannot be used as asked; WriteError where the disk
    refuses.
    """
    config = _configured(study, recipe, seeds, device)
    asked = {
        "study": study.name,
        "recipe": recipe,
        "config": _plain(config),
        "packages": package_versions(),
        "commit": source_commit(),
    }
    with open_run(ROOT, study.name, asked, Path(out) if out is not None else None) as directory:
        workspace = directory.file(_WORKSPACE)
        resumed = workspace.exists()
        started = time.perf_counter()
        curves = study.experiment(config, tuple(config.seeds), workspace)
        record = conclude(study, recipe, config, curves, directory, time.perf_counter() - started, resumed)
        shutil.rmtree(workspace, ignore_errors=True)
    return record, directory


def conclude(
    study: Study[Any],
    recipe: str,
    config: Any,
    curves: "pl.DataFrame",
    directory: RunDirectory,
    seconds: float,
    resumed: bool,
) -> RunRecord:
    """Measure finished curves, judge the claims and write tables, figures, page and, last, the record.

    Needs nothing of the experiment: curves may come from anywhere.
    """
    from oneway.report import write_report

    measured = study.measure(curves)
    directory.write_parquet(CURVES, curves)
    record = RunRecord(
        study=study.name,
        run_id=directory.path.name,
        title=study.title,
        asked=_question(study, recipe, len(config.seeds)),
        config={"recipe": recipe, **_plain(config)},
        claims=[judgement.to_dict() for judgement in study.judge(measured)],
        seeds=list(config.seeds),
        notes=["Resumed after an interruption; the wall time is that of the last part."] if resumed else [],
        tables={"curves": CURVES},
        figures=_write_figure(study.figure(measured, curves), study.name, directory),
        wall_seconds=round(seconds, 3),
        hardware=_hardware(config),
    )
    write_report(record, None, directory.file(PAGE), curves=curves)
    directory.write_record(record)
    return record


def _question(study: Study[Any], recipe: str, seeds: int) -> str:
    what = "this claim hold" if len(study.claims) == 1 else f"these {len(study.claims)} claims hold"
    does = "Does" if len(study.claims) == 1 else "Do"
    return (
        f"{does} {what}? {seeds} independent models were trained from {seeds} seeds with the recipe "
        f"{recipe!r}; the rule of each verdict was fixed before the run."
    )


def _configured(study: Study[Any], recipe: str, seeds: Sequence[int] | None, device: str) -> Any:
    config = study.config(recipe)
    changes: dict[str, Any] = {}
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


def _write_figure(figure: "Figure", name: str, directory: RunDirectory) -> dict[str, str]:
    from oneway.report.figures import picture

    files = {f"{name}.svg": picture(figure, "svg"), f"{name}.png": picture(figure, "png")}
    for file, content in files.items():
        directory.write_bytes(f"figures/{file}", content)
    return {file: f"figures/{file}" for file in files}
