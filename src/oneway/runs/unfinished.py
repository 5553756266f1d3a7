"""A killed run is continued, not begun again: its folder knows what was asked and who works in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from oneway.evidence.atomic import WriteError
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

    Who works in it writes the record last; the run then counts as finished.

    Without `out`: an unfinished run under `root/study` that was asked the very same, else a new one. With
    `out`: that folder, whether new or unfinished.

    Raises RunError where `out` holds a finished run, an unfinished run of something else, or a run that
    another process is working on; WriteError where the folder cannot be written.
    """
    mark = fingerprint(asked)
    candidates = [RunDirectory(out)] if out is not None else [*_unfinished(root / study, mark)]
    for directory in candidates:
        if out is not None:
            _check_free(directory, mark)
        with _held(directory) as held:
            # Another process may have finished it between the look and the lock.
            if held and not directory.finished:
                yield _start(directory, mark, asked)
                _end(directory)
                return
        if out is not None:
            raise RunError(f"another process is working in {out}; wait for it or choose another folder")
    directory = RunDirectory.under(root, study)
    with _held(directory):
        yield _start(directory, mark, asked)
        _end(directory)


def _start(directory: RunDirectory, mark: str, asked: Mapping[str, Any]) -> RunDirectory:
    directory.write_json(
        STARTED, {"fingerprint": mark, "asked": json.loads(json.dumps(dict(asked), default=str))}
    )
    return directory


def _end(directory: RunDirectory) -> None:
    """A finished run carries no mark of an unfinished one."""
    if directory.finished:
        directory.file(STARTED).unlink(missing_ok=True)


def _check_free(directory: RunDirectory, mark: str) -> None:
    path = directory.path
    if directory.finished:
        raise RunError(f"{path} already holds a finished run; choose another folder or delete it")
    if directory.file(STARTED).exists():
        if _mark_of(directory) != mark:
            raise RunError(
                f"{path} holds an unfinished run with another config, other seeds or another version; "
                "choose another folder or delete it"
            )
    elif path.exists() and (not path.is_dir() or any(file.name != _LOCK for file in path.iterdir())):
        raise RunError(f"{path} exists and is not a run; choose a new or an empty folder")


def _unfinished(folder: Path, mark: str) -> Iterator[RunDirectory]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            directory = RunDirectory(path)
            if path.is_dir() and not directory.finished and _mark_of(directory) == mark:
                yield directory


def _mark_of(directory: RunDirectory) -> str | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        return str(json.loads(directory.file(STARTED).read_text(encoding="utf-8"))["fingerprint"])
    return None


@contextmanager
def _held(directory: RunDirectory) -> Iterator[bool]:
    """Whether the folder is now ours. The lock goes when this process ends, however it ends."""
    path = directory.file(_LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield _lock(file)
    finally:
        if directory.finished:
            path.unlink(missing_ok=True)
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
