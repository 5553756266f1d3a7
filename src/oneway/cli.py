"""The command `oneway`. Every command is also a Python call; heavy imports wait until one is asked."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneway.evidence import RunRecord

DONE, FAILED, WRONG_INPUT = 0, 1, 2

app = typer.Typer(
    help="A laboratory for one-way memory: which way does a language model recall its facts, and why?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Facts = Annotated[str, typer.Option("--facts", help="A file (CSV, TSV, JSONL, LRE JSON) or a shipped table.")]
Relations = Annotated[Path | None, typer.Option("--relations", help="TOML with the relations' templates.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """The main job end to end: teach a small model real facts, audit it three ways, write the report."""
    from oneway.api import demo as run_demo

    record, directory = run_demo(out)
    _show(record, directory, as_json)


@app.command("list")
def list_studies(as_json: Json = False) -> None:
    """Studies with their claims, sources and recipes."""
    from oneway.studies import STUDIES, load_study

    studies = [load_study(name) for name in sorted(STUDIES)]
    if as_json:
        _print_json(
            {
                study.name: {
                    "title": study.title,
                    "recipes": list(study.recipes),
                    "claims": [
                        {"id": c.id, "text": c.text, "source": c.source, "rule": c.rule} for c in study.claims
                    ],
                }
                for study in studies
            }
        )
        return
    for study in studies:
        typer.echo(f"{study.name}: {study.title}  [{', '.join(study.recipes)}]")
        for claim in study.claims:
            typer.echo(f"  {claim.id}  {claim.text}\n      Source: {claim.source}\n      Rule: {claim.rule}")


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study's name (see `oneway list`).")],
    recipe: Annotated[str, typer.Option(help="quick, standard or paper")] = "quick",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds (0, 1, …); default: the recipe's.")
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study: train, measure, judge its claims by their fixed rules, draw. Resumes where it was killed."""
    from oneway.api import run as run_study

    record, directory = run_study(study, recipe, seeds, device, out)
    _show(record, directory, as_json)


@app.command()
def audit(
    model: Annotated[str, typer.Option(help="A checkpoint directory or a hub name.")],
    facts: Facts,
    relations: Relations = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Most candidates per relation and direction.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the candidates.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Which of these facts does a model recall: forward, in reverse, or only in context?"""
    from oneway.facts import resolve

    table = resolve(
        facts, relations
    )  # first: what is wrong with a file is said at once, and leaves no folder
    from oneway.api import audit as run_audit
    from oneway.evidence.record import package_versions
    from oneway.recall.asking import AuditConfig
    from oneway.runs.unfinished import open_run

    config = AuditConfig(candidates=candidates, seed=seed)
    asked = {
        "model": model,
        "facts": facts,
        "relations": relations,
        "config": config,
        "packages": package_versions(),
    }
    with open_run(Path("runs"), "audit", asked, out) as directory:
        result = run_audit(model, table, config, device=device)
        result.save(directory.path)
    _show(result.record, directory.path, as_json)


@app.command()
def train(
    facts: Facts,
    out: Annotated[Path, typer.Option(help="Where the Hugging Face checkpoint is written.")],
    relations: Relations = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps (default 1300).")] = None,
    layers: Annotated[int | None, typer.Option(min=1)] = None,
    width: Annotated[int | None, typer.Option(min=1)] = None,
    heads: Annotated[int | None, typer.Option(min=1)] = None,
    style: Annotated[str | None, typer.Option(help="neox or gpt2")] = None,
    tokens: Annotated[str | None, typer.Option(help="word (one token a word) or bpe")] = None,
    loss: Annotated[
        str | None, typer.Option(help="answer (the loss is on answers) or document (all tokens)")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Train a small model that knows these facts. A column `split` says how each is stated: forward_only (the
    default), reverse_only, both_ways or unseen."""
    from oneway.api import train as run_train

    options = {"steps": steps, "layers": layers, "width": width, "heads": heads, "style": style}
    options |= {"tokens": tokens, "loss": loss, "seed": seed}
    taught = run_train(facts, out, relations=relations, **{k: v for k, v in options.items() if v is not None})
    if as_json:
        _print_json({**_with_paths(taught.record, out), "checkpoint": str(out.resolve())})
    else:
        typer.echo(f"checkpoint: {out}  ({taught.record.wall_seconds:.0f} s)")
        toml = f" --relations {relations}" if relations else ""
        typer.echo(f"next: oneway audit --model {out} --facts {facts}{toml}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """One HTML page, working offline, from the records of one or more runs."""
    from oneway.api import write_report as write

    typer.echo(f"report: {write(runs, out)}")


def _show(record: "RunRecord", directory: Path, as_json: bool) -> None:
    """The result for a person, or the record with the absolute paths of its files for a program."""
    page = directory / "report.html"
    if as_json:
        _print_json({**_with_paths(record, directory), "report": str(page.resolve())})
        return
    from oneway.report.tables import print_record

    print_record(record)
    typer.echo(f"report: {page}")


def _with_paths(record: "RunRecord", directory: Path) -> dict[str, Any]:
    shown = record.to_dict()
    for kind in ("tables", "figures"):
        shown[kind] = {name: str((directory / file).resolve()) for name, file in shown[kind].items()}
    return {**shown, "directory": str(directory.resolve())}


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, allow_nan=False, default=str))


@contextmanager
def _said_plainly() -> "Iterator[None]":
    """Errors of input are one message and status 2, other known failures status 1; a bug keeps its traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        typer.echo(f"oneway: {error}", err=True)
        sys.exit(WRONG_INPUT)
    except (OSError, FloatingPointError, MemoryError) as error:
        typer.echo(f"oneway: {error or type(error).__name__}", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        typer.echo("oneway: interrupted; the same command continues where it can", err=True)
        sys.exit(130)


def main() -> None:
    """The entry point of the command."""
    # Threads that wait asleep cost a third on an idle machine and save half or more on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _said_plainly():
        app()


if __name__ == "__main__":
    main()
