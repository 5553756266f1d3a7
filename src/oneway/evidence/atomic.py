"""The one way a file is written: whole, or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\..{1,40}\.[0-9a-f]{8}\.tmp", re.DOTALL)
_REMEDIES = {
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
    errno.EROFS: "name a folder on a disk that can be written",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then run the same command again",
    errno.ENOENT: "the folder was moved or deleted meanwhile; run the same command again",
    errno.ENOTDIR: "a file stands where a folder should; name another folder",
}


class WriteError(OSError):
    """The system refused to write; the message names the path, the reason and what to do.

    It is no ValueError: what was asked was right, and the same may succeed later (exit status 1).
    """


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    A reader, or a run killed at any moment, sees the old file or the new one, never a part. The bytes are on
    disk before the rename. Missing parent folders are made.

    Raises WriteError where the folder cannot be written or the disk is full; the temporary file is removed.
    """
    temporary = _temporary(path)
    try:
        with _refusals_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with suppress(OSError):  # after the rename there is none; an error must not hide the first one
            temporary.unlink()
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes atomically. Raises WriteError."""
    return write_with(path, lambda file: file.write(content))


def write_text(path: Path, content: str) -> Path:
    """Write text atomically as UTF-8, line ends as they are. Raises WriteError.

    What UTF-8 cannot say (half a surrogate pair, as file names of other encodings give) becomes `\\udcxx`.
    """
    return write_bytes(path, content.encode("utf-8", errors="backslashreplace"))


def write_files(folder: Path, write: Callable[[Path], object], last: str) -> None:
    """Let `write` fill a temporary folder inside `folder`, then rename each file to its place, `last` last.

    Each file is whole or not there; who sees `last` sees them all. Raises WriteError; the temporary folder is
    removed.
    """
    temporary = _temporary(folder / last)
    try:
        with _refusals_named(folder):
            temporary.mkdir(parents=True)
            write(temporary)
            for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
                _sync(file)
                os.replace(file, folder / file.name)
            _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> Path:
    """Make a folder in one that is there, or leave it as it is. Raises WriteError."""
    with _refusals_named(path):
        path.mkdir(exist_ok=True)
    return path


def write_bytes_in(folder: Path, name: str, content: bytes) -> Path:
    """Write bytes atomically in a folder that was made before: one that vanished is not made anew.

    Raises WriteError.
    """
    if not folder.is_dir():
        raise WriteError(f"cannot write {folder / name}: {folder} has vanished; {_REMEDIES[errno.ENOENT]}")
    return write_bytes(folder / name, content)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of `write_with` and `write_files`, in `folder` and below.

    Only for who holds the folder: another process may be about to rename them.
    """
    for parent, folders, files in os.walk(folder):
        for name in filter(is_temporary, files):
            with suppress(OSError):
                Path(parent, name).unlink()
        for name in filter(is_temporary, tuple(folders)):
            folders.remove(name)
            shutil.rmtree(Path(parent, name), ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that a write of ours was killed in."""
    return _TEMPORARY.fullmatch(name) is not None


def refusal(path: Path, error: OSError) -> WriteError:
    """The error that says what the system refused, why, and what to do."""
    return _named(path, error.errno or 0, error.strerror or str(error))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")


@contextmanager
def _refusals_named(path: Path) -> Iterator[None]:
    """What the system refuses becomes a WriteError, also where a library has wrapped it in its own error."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise refusal(path, error) from error
    except Exception as error:
        # The libraries written in Rust (polars, safetensors, tokenizers) raise errors of their own.
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise _named(path, int(found[1]), os.strerror(int(found[1]))) from error


def _named(path: Path, number: int, reason: str) -> WriteError:
    remedy = f"; {_REMEDIES[number]}" if number in _REMEDIES else ""
    return WriteError(f"cannot write {path}: {reason}{remedy}")


def _sync(path: Path) -> None:
    """Put a file, or the renames in a folder, on disk, where the system lets a folder be opened for that."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
