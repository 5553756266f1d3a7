"""The one way a file is written: whole, or not at all."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class WriteError(ValueError):
    """A file could not be written; the message names the path and the reason."""


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    A reader, or a run killed at any moment, sees the old file or the new one, never a part. The bytes are on
    disk before the rename. Missing parent folders are made.

    Raises WriteError where the folder cannot be written or the disk is full; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
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


def _sync_folder(folder: Path) -> None:
    """Put the rename itself on disk, where the system lets a folder be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
