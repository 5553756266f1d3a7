"""The commands as Python calls: `oneway.audit`, `oneway.train`, `oneway.run`, `oneway.demo`."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from oneway.evidence import RunRecord
    from oneway.facts import FactTable
    from oneway.models.checkpoint import Source
    from oneway.recall.asking import AuditConfig
    from oneway.recall.result import AuditResult
    from oneway.training.teach import Taught, Teaching


def audit(
    model: "Source",
    facts: "str | Path | FactTable",
    config: "AuditConfig | None" = None,
    *,
    relations: str | Path | None = None,
    device: str = "auto",
) -> "AuditResult":
    """Which of these facts a model recalls: forward, in reverse, or only in context.

    `model`: a checkpoint directory, a hub name, or a (model, tokenizer) pair. `facts`: a file, the name of a
    shipped table, or a table. See `oneway.recall.audit.audit`.
    """
    table = _table(facts, relations)  # before the heavy imports: what is wrong with a file is said at once
    from oneway.recall.audit import audit as ask

    return ask(model, table, config, device=device)


def train(
    facts: "str | Path | FactTable", out: str | Path, *, relations: str | Path | None = None, **options: Any
) -> "Taught":
    """A small model that knows these facts, as a Hugging Face checkpoint in `out`.

    `options`: any field of `Teaching` and of its parts by name (steps, layers, width, heads, style, tokens,
    loss, seed, episodes, learning_rate, …). See `oneway.training.teach.teach`.

    Raises ValueError for an unknown option or value.
    """
    table = _table(facts, relations)
    from oneway.training.teach import Teaching, teach

    return teach(table, Path(out), _configured(Teaching(), options))


def run(
    study: str,
    recipe: str = "quick",
    seeds: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> "tuple[RunRecord, Path]":
    """Run a study by name; returns its record and its folder. See `oneway.runs.execute.run_study`."""
    from oneway.runs.execute import run_study
    from oneway.studies import load_study

    record, directory = run_study(
        load_study(study), recipe, None if seeds is None else range(seeds), device, out
    )
    return record, directory.path


def demo(out: str | Path | None = None) -> "tuple[RunRecord, Path]":
    """Teach a small model the shipped tables, audit it, write the report; returns record and folder."""
    from oneway.evidence.record import package_versions, source_commit
    from oneway.runs.unfinished import open_run
    from oneway.studies.demo import Demo
    from oneway.studies.demo import demo as teach_and_ask

    asked = {"demo": asdict(Demo()), "packages": package_versions(), "commit": source_commit()}
    with open_run(Path("runs"), "demo", asked, None if out is None else Path(out)) as directory:
        result = teach_and_ask(directory.path)
    return result.record, directory.path


def write_report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """One page from the folders of finished runs."""
    from oneway.report import Run, write_page
    from oneway.runs.directory import RunDirectory

    shown = []
    for path in runs:
        directory = RunDirectory(Path(path))
        record = directory.read_record()
        tables = {name: directory.read_table(file) for name, file in record.tables.items()}
        shown.append(
            Run(
                record=record,
                rows=tables.get("per_fact"),
                curves=tables.get("curves"),
                skipped=tables.get("skipped"),
                folder=directory.path,
            )
        )
    return write_page(shown, out)


def _table(facts: "str | Path | FactTable", relations: str | Path | None) -> "FactTable":
    from oneway.facts import FactTable, resolve

    return facts if isinstance(facts, FactTable) else resolve(facts, relations)


def _configured(teaching: "Teaching", options: dict[str, Any]) -> "Teaching":
    """Put each option into the part of the config that has a field of its name."""
    parts: dict[str, Any] = {"size": teaching.size, "lessons": teaching.lessons}
    parts["optimisation"] = teaching.optimisation
    own: dict[str, Any] = {}
    for name, value in options.items():
        owner = next((p for p, part in parts.items() if name in {f.name for f in fields(part)}), None)
        if owner is not None:
            _check_choice(type(parts[owner]), name, value)
            parts[owner] = replace(parts[owner], **{name: value})
        elif name in {f.name for f in fields(teaching)} - set(parts):
            _check_choice(type(teaching), name, value)
            own[name] = value
        else:
            raise ValueError(f"train has no option {name!r}")
    return replace(teaching, **parts, **own)


def _check_choice(config: type, name: str, value: Any) -> None:
    """Raises ValueError where a field takes a few words only and this is not one of them."""
    kind = get_type_hints(config)[name]
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{name} is {value!r}, but it is one of: {', '.join(map(str, get_args(kind)))}")
