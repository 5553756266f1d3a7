"""The finished parts of an audit, in memory and on disk: a killed audit asks only what is missing."""

import io
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from oneway.evidence.atomic import make_folder, write_bytes_in
from oneway.evidence.pace import SAVE_SECONDS, Pace

IDENTITY = "audit.sha256"
_NAME = re.compile(r"(\d{6,})-(\d{6,})-([0-9a-f]{8})\.parquet")


class Parts:
    """Rows and skipped questions of parts that are numbered from 0.

    In a workspace, whole runs of parts lie in files "first-last-checksum.parquet", written as `Pace` says. A
    row with a `reason` is a skipped question; what it lacks of the other columns is null.
    """

    def __init__(self, schema: Mapping[str, Any], workspace: Path | None, identity: str) -> None:
        """Reads what the workspace holds, a folder whose parent is there.

        `identity` stands for everything that decides the rows. Raises ValueError where the workspace holds
        parts of another audit or a damaged file, WriteError where it cannot be written.
        """
        self._schema = dict(schema) | {"reason": pl.String}
        self._workspace = workspace
        self._done: dict[int, int] = {}  # first part → last part
        self._frames: dict[int, pl.DataFrame] = {}  # by their first part
        self._waiting: list[pl.DataFrame] = []  # not on disk yet, the parts after _waiting_from
        self._waiting_from = 0
        self._pace = Pace(SAVE_SECONDS)
        if workspace is not None:
            _claim(make_folder(workspace), identity)
            for path in sorted(workspace.iterdir()):
                if name := _NAME.fullmatch(path.name):
                    first, last = int(name[1]), int(name[2])
                    self._frames[first] = _read(path, name[3], self._schema)
                    self._done[first] = last
        self._finished = {part for first, last in self._done.items() for part in range(first, last + 1)}

    def __contains__(self, part: int) -> bool:
        return part in self._finished

    @property
    def resumed(self) -> bool:
        """Whether anything was found on disk."""
        return bool(self._done)

    def add(self, part: int, rows: pl.DataFrame) -> None:
        """Add a part that is not there yet; now and then it is written, with those that wait before it.

        Raises WriteError.
        """
        if self._waiting and part != self._waiting_from + len(self._waiting):
            self.save()
        if not self._waiting:
            self._waiting_from = part
        self._waiting.append(rows)
        if self._pace.due:
            self.save()

    def save(self) -> None:
        """Write what waits. Raises WriteError."""
        if not self._waiting:
            return
        rows = pl.concat(self._waiting)
        self._frames[self._waiting_from] = rows
        if self._workspace is not None:
            with self._pace.saving():
                content = io.BytesIO()
                rows.write_parquet(content)
                last = self._waiting_from + len(self._waiting) - 1
                checksum = f"{zlib.crc32(content.getbuffer()):08x}"
                name = f"{self._waiting_from:06}-{last:06}-{checksum}.parquet"
                write_bytes_in(self._workspace, name, content.getvalue())
        self._waiting = []

    def take(self) -> pl.DataFrame:
        """Everything, in the order of the parts, whatever came from disk; it is not held here any more."""
        self.save()
        frames = [self._frames[first] for first in sorted(self._frames)]
        self._frames = {}
        return pl.concat(frames) if frames else pl.DataFrame(schema=self._schema)


def _claim(workspace: Path, identity: str) -> None:
    """Mark a new workspace as this audit's. Raises ValueError where it is another's."""
    path = workspace / IDENTITY
    if not path.exists():
        if any(_NAME.fullmatch(file.name) for file in workspace.iterdir()):
            raise ValueError(
                f"{workspace} does not say which audit its parts are of: delete it to start anew"
            )
        write_bytes_in(workspace, IDENTITY, identity.encode())
    elif path.read_bytes() != identity.encode():
        raise ValueError(
            f"{workspace} holds parts of another audit (other facts, model, config or version): "
            "give another folder, or delete it to start anew"
        )


def _read(path: Path, checksum: str, schema: Mapping[str, Any]) -> pl.DataFrame:
    remedy = "delete it: the same command asks its questions again"
    try:
        content = path.read_bytes()
        if f"{zlib.crc32(content):08x}" != checksum:
            raise ValueError(f"{path} is damaged, its checksum is another; {remedy}")
        return pl.read_parquet(io.BytesIO(content)).cast(dict(schema))  # type: ignore[arg-type]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {remedy}") from error
