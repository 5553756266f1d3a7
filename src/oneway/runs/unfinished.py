"""A killed run is continued, not begun again: its folder knows what was asked and who works in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from oneway.evidence import atomic
from oneway.evidence.record import fingerprint
from oneway.runs.directory import RunDirectory, RunError

try:
    import fcntl
except ImportError:  # Windows: runs are not guarded against one another there
    fcntl = None  # type: ignore[assignment]

STARTED = "started.json"
_LOCK = ".lock"


@contextmanager
def open_run(root: Path, study: str, asked: Mapping[str, Any], out: Path | None) -> Iterator[RunDirectory]:
    """The folder to work in, held for this process alone while the context lasts.

    Who works in it writes the record last; the run then counts as finished. What killed processes left half
    written is removed.

    Without `out`: an unfinished run under `root/study` that was asked the very same, else a new one. With
    `out`: that folder, whether new, unfinished, or finished and asked the very same; the last is not held, and
    there is nothing left to do in it.

    Raises RunError where `out` holds another run or something else, or a run that another process is working
    on; WriteError where the folder cannot be written. Errors of the system and interrupts are noted with where
    the state lies.
    """
    mark = fingerprint(asked)
    if out is not None:
        directory = RunDirectory(out)
        _check_ours(directory, mark)
        if directory.finished:
            yield directory
            return
        with _held(directory) as held:
            if not held:
                raise RunError(f"another process is working in {out}; wait for it or choose another folder")
            _check_ours(directory, mark)  # again: it may have been taken between the look and the lock
            with _begun(directory, mark, asked):
                yield directory
        return
    for directory in _unfinished(root / study, mark):
        with _held(directory) as held:
            if held and not directory.finished:
                with _begun(directory, mark, asked):
                    yield directory
                return
    directory = RunDirectory.under(root, study)
    with _held(directory), _begun(directory, mark, asked):
        yield directory


@contextmanager
def _begun(directory: RunDirectory, mark: str, asked: Mapping[str, Any]) -> Iterator[None]:
    atomic.remove_temporaries(directory.path)
    if not directory.finished:
        directory.write_json(
            STARTED, {"fingerprint": mark, "asked": json.loads(json.dumps(dict(asked), default=str))}
        )
    try:
        yield
    except BaseException as stop:
        passing = isinstance(stop, OSError | MemoryError) or not isinstance(stop, Exception)
        if passing and directory.path.is_dir():
            stop.add_note(f"{directory.path} keeps what was saved: the same command continues there")
        raise


def _check_ours(directory: RunDirectory, mark: str) -> None:
    """Raises RunError where the folder is neither new nor empty nor a run that was asked the very same."""
    path = directory.path
    if not path.is_dir():
        if path.exists() or path.is_symlink():
            raise RunError(f"{path} exists and is not a run; choose a new or an empty folder")
        return
    if directory.file(STARTED).exists():
        if _mark_of(directory) != mark:
            raise RunError(
                f"{path} holds {'a finished' if directory.finished else 'an unfinished'} run with another "
                "config, other inputs, other seeds or another version; choose another folder or delete it"
            )
    elif directory.finished:
        raise RunError(f"{path} already holds a finished run; choose another folder or delete it")
    elif any(file.name != _LOCK and not atomic.is_temporary(file.name) for file in path.iterdir()):
        raise RunError(f"{path} exists and is not a run; choose a new or an empty folder")


def _unfinished(folder: Path, mark: str) -> Iterator[RunDirectory]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        directory = RunDirectory(path)
        if path.is_dir() and (path / STARTED).is_file() and not directory.finished:
            try:
                found = _mark_of(directory)
            except RunError:  # its owner is told when it is asked for by name
                continue
            if found == mark:
                yield directory


def _mark_of(directory: RunDirectory) -> str:
    path = directory.file(STARTED)
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"cannot read {path}, which says what was asked: choose another folder or delete {directory.path}"
        ) from error


@contextmanager
def _held(directory: RunDirectory) -> Iterator[bool]:
    """Whether the folder is now ours. The lock goes when this process ends, however it ends."""
    path = directory.file(_LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise atomic.refusal(path, error) from error
    held = False
    try:
        held = _lock(file)
        yield held
    finally:
        if held and directory.finished:
            with suppress(OSError):
                path.unlink()
        file.close()


def _lock(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
