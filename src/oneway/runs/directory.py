"""Where a run lives: a folder with record, tables, figures and page, each written whole or not at all."""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from oneway.evidence import RunRecord, atomic

if TYPE_CHECKING:
    import polars as pl

RECORD = "record.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunError(ValueError):
    """A run directory cannot be used as asked; the message names it and says why."""


def new_run_id() -> str:
    """A name that sorts by time and does not collide: "20250131-142501-9f3a1c" (UTC)."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The folder of one run. It is made by the first write.

    Names of files are relative and stay inside: a name from a record can reach nothing else.
    """

    path: Path

    @classmethod
    def under(cls, root: Path | str, study: str, run_id: str | None = None) -> "RunDirectory":
        """`root/study/run_id`, with a new run id where none is given.

        Raises RunError where study or run id is not a plain name (letters, digits, ".", "_", "-").
        """
        run_id = new_run_id() if run_id is None else run_id
        for part in (study, run_id):
            if not _NAME.fullmatch(part):
                raise RunError(f"{part!r} cannot name a run: use letters, digits, '.', '_' and '-'")
        return cls(Path(root) / study / run_id)

    def file(self, name: str) -> Path:
        """The path of a file of this run.

        Raises RunError where the name is empty, absolute, climbs out with "..", or leaves through a link.
        """
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or re.search(r"[\\:\x00]", name):
            raise RunError(f"{name!r} does not name a file inside the run directory {self.path}")
        path = self.path.joinpath(*parts)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RunError(f"{path} is a link that leaves the run directory")
        return path

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of bytes. Raises RunError (the name) or WriteError (the disk)."""
        return atomic.write_bytes(self.file(name), content)

    def write_text(self, name: str, content: str) -> Path:
        """Write a UTF-8 file. Raises RunError (the name) or WriteError (the disk)."""
        return atomic.write_text(self.file(name), content)

    def write_json(self, name: str, content: Mapping[str, Any] | Sequence[Any]) -> Path:
        """Write strict JSON. Raises RunError, WriteError, and ValueError for NaN or infinity."""
        return self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))

    def write_parquet(self, name: str, rows: "pl.DataFrame") -> Path:
        """Write a table. Raises RunError (the name) or WriteError (the disk)."""
        return atomic.write_with(self.file(name), lambda file: rows.write_parquet(file))

    def write_record(self, record: RunRecord) -> Path:
        """Write `record.json`. It is written last: a run that has one is finished."""
        return self.write_text(RECORD, record.to_json())

    @property
    def finished(self) -> bool:
        return self.file(RECORD).exists()

    def read_record(self) -> RunRecord:
        """The record of a finished run. Raises RunError where there is none or it cannot be read."""
        path = self.file(RECORD)
        try:
            return RunRecord.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{self.path} holds no finished run: there is no {RECORD}") from error
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {path}: {error}") from error

    def read_table(self, name: str) -> "pl.DataFrame":
        """A table of this run, by its file name. Raises RunError where it is missing or broken."""
        import polars as pl

        path = self.file(name)
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(f"cannot read the table {path}: {error}") from error
