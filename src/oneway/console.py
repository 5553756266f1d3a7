"""What the command says and how it ends: results for people or programs, errors in a sentence, exit statuses."""

import json
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from oneway.evidence import RunRecord
    from oneway.facts import FactTable

DONE, FAILED, WRONG_INPUT = 0, 1, 2


def read_table(facts: str, relations: Path | None) -> "FactTable":
    """The table, with what reading it had to say on standard error."""
    from oneway.facts import resolve

    table = resolve(facts, relations)
    for note in table.notes:
        typer.echo(f"oneway: note: {note}", err=True)
    return table


def show(record: "RunRecord", directory: Path, as_json: bool, changed: "pl.DataFrame | None" = None) -> None:
    """The result for a person, or the record with the absolute paths of its files for a program.

    `changed`: a comparison's rows, of which a person sees the first that changed.
    """
    page = directory / "report.html"
    if as_json:
        print_json({**with_paths(record, directory), "report": str(page.resolve())})
        return
    from oneway.report.tables import print_changed, print_record

    print_record(record)
    if changed is not None:
        print_changed(changed)
    typer.echo(f"report: {page}")


def with_paths(record: "RunRecord", directory: Path) -> dict[str, Any]:
    shown = record.to_dict()
    for kind in ("tables", "figures"):
        shown[kind] = {name: str((directory / file).resolve()) for name, file in shown[kind].items()}
    return {**shown, "directory": str(directory.resolve())}


def print_json(content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=str)
    # Half a surrogate pair is no UTF-8, and a terminal may obey the controls that JSON need not escape.
    typer.echo(re.sub("[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found.group()):04x}", text))


@contextmanager
def said_plainly() -> "Iterator[None]":
    """Errors of input are one message and status 2, other known failures status 1; a bug keeps its traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        say(error)
        sys.exit(WRONG_INPUT)
    except (OSError, FloatingPointError, MemoryError) as error:
        say(error)
        sys.exit(FAILED)
    except Interrupted as stop:
        say(stop)
        sys.exit(128 + stop.number)


def say(error: BaseException) -> None:
    """The message and, on lines of their own, what was noted on the way."""
    from oneway.evidence.record import printable

    for message in (str(error) or type(error).__name__, *getattr(error, "__notes__", ())):
        # The lines are ours, what stands in them may be a file's: nothing of it commands the terminal.
        typer.echo("oneway: " + "\n".join(map(printable, message.split("\n"))), err=True)


class Interrupted(BaseException):
    """A signal asked the command to stop. It is no KeyboardInterrupt, which typer would end without a word."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def interruptible() -> "Iterator[None]":
    """SIGINT and SIGTERM end the command in order, a second one at once."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as a shell sets it for what runs in the background
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
