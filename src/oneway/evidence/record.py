"""The record of a run: everything needed to trace a number back to the run that made it."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESUMED = "Resumed after an interruption; the wall time is that of the last part."
PACKAGES = ("oneway", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "polars")
OF_EXTRAS = ("sae-lens",)  # named where they are installed


# What a record that was read must hold for the rest of the program to stand on it.
_TEXT, _NUMBER, _OBJECT = "a text", "a number", "an object"
_OBJECTS, _TEXTS, _NAMES = "a list of objects", "a list of texts", "an object of texts"
_KINDS = {
    **dict.fromkeys(("study", "run_id", "title", "asked", "created"), _TEXT),
    **dict.fromkeys(("config", "packages", "commit", "hardware"), _OBJECT),
    **dict.fromkeys(("claims", "summary"), _OBJECTS),
    **dict.fromkeys(("data", "checkpoints", "tables", "figures"), _NAMES),
    "notes": _TEXTS,
    "wall_seconds": _NUMBER,
}


def _is(value: Any, kind: str) -> bool:
    if kind in (_OBJECTS, _TEXTS):
        inner = dict if kind == _OBJECTS else str
        return isinstance(value, list) and all(isinstance(item, inner) for item in value)
    if kind == _NAMES:
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if kind == _NUMBER:
        return isinstance(value, int | float)
    return isinstance(value, str if kind == _TEXT else dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What was run, on what, with which result. Written as `record.json`.

    `claims` hold the judgements (`Judgement.to_dict`), `summary` the estimates that are not claims,
    `tables` and `figures` the names of the files beside the record, `data` and `checkpoints` SHA-256 hashes.
    """

    study: str
    run_id: str
    title: str
    asked: str
    config: Mapping[str, Any]
    claims: Sequence[Mapping[str, Any]] = ()
    summary: Sequence[Mapping[str, Any]] = ()
    seeds: Sequence[int] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    wall_seconds: float = 0.0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    packages: Mapping[str, str] = field(default_factory=lambda: package_versions())
    commit: Mapping[str, Any] = field(default_factory=lambda: source_commit())
    hardware: Mapping[str, Any] = field(default_factory=lambda: hardware())

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def to_json(self) -> str:
        """Strict JSON (no NaN or Infinity: any JSON reader takes it)."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str)

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Raises ValueError where the text is not a record, with the field that is missing or unknown."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("a record is a JSON object")
        for name, kind in _KINDS.items():
            if name in fields and not _is(fields[name], kind):
                raise ValueError(f"not a oneway record: {name!r} should be {kind}")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a oneway record: {error}") from error


def printable(text: str) -> str:
    """A text with every control character, separator and half of a surrogate pair spelled out ("\\x1b")."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    for name in OF_EXTRAS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def code_version() -> dict[str, str]:
    """What the code is that makes a number: versions of the packages, and a hash of this one's source.

    A run that was begun by other code is not continued: its halves would not belong together.
    """
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return package_versions() | {"source": digest.hexdigest()}


def source_commit() -> dict[str, Any]:
    """The commit of this source tree and whether it was dirty; empty when oneway runs from a wheel."""
    here = Path(__file__).resolve().parent
    root = here.parents[2]  # src/oneway/evidence: a wheel in somebody's repository is not that repository
    if not ((root / ".git").exists() and (root / "pyproject.toml").exists()):
        return {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def hardware() -> dict[str, Any]:
    """Processor, cores and memory of this machine (a GPU is added by the code that uses one)."""
    model = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "cpu": model,
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
    }
    with suppress(ValueError, OSError, AttributeError):  # systems that do not say
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return found


def fingerprint(asked: Mapping[str, Any]) -> str:
    """A hash of everything that decides the numbers: equal fingerprints may share checkpoints."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
