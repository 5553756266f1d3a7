"""What the system refuses is said with path, reason and remedy; afterwards the same call goes on."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import oneway
from oneway.evidence.atomic import WriteError, is_temporary
from oneway.runs.execute import run_study
from oneway.studies import load_study

EXAMPLES = Path(__file__).parents[2] / "examples"
FACTS, RELATIONS = EXAMPLES / "company.csv", EXAMPLES / "company.toml"
SMALL = {"layers": 1, "width": 16, "heads": 2, "steps": 5}


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> dict[str, Callable[[Path], object]]:
    """Each long command as a call that takes its folder."""
    model = tmp_path_factory.mktemp("model") / "m"
    train = partial(oneway.train, FACTS, relations=RELATIONS, **SMALL)
    train(out=model)
    study = load_study("reversal")
    quick = study.config("quick")
    short = replace(
        quick,
        world=replace(quick.world, vocabulary=40),
        training=replace(quick.training, epochs=2, evaluate_every=1),
        seeds=(0, 1),
    )
    small = replace(study, recipes={"quick": lambda: short})
    return {
        "train": lambda out: train(out=out),
        "audit": lambda out: oneway.audit(model, FACTS, relations=RELATIONS, out=out),
        "run": lambda out: run_study(small, out=out),
    }


@pytest.fixture
def mounted(tmp_path) -> Iterator[Callable[..., Path]]:
    """A disk of one's own, with the options of `mount`; skips where one may not mount."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def whole(out: Path) -> bool:
    """Whether the run is finished and nothing half-written or unneeded is left."""
    names = {file.name for file in out.rglob("*")}
    return (
        "record.json" in names and not {"training", "workspace"} & names and not any(map(is_temporary, names))
    )


@pytest.mark.parametrize(
    ("name", "kib_free"), [("train", (0, 40, 100)), ("audit", (0, 40, 999)), ("run", (0, 40, 999))]
)
def test_a_full_disk_is_named_and_after_room_is_made_the_same_call_goes_on(calls, mounted, name, kib_free):
    disk = mounted("size=12m")
    for free in kib_free:  # so that the first file, or a later one, does not fit
        (disk / "others").write_bytes(b"x" * (12 * 1024 - free - 8) * 1024)
        with pytest.raises(WriteError, match=r"cannot write .*: No space left on device; make room"):
            calls[name](disk / "out")
        assert not (disk / "out" / "record.json").exists()
        assert not [file for file in (disk / "out").rglob("*") if is_temporary(file.name)]
    (disk / "others").unlink()
    calls[name](disk / "out")
    assert whole(disk / "out")


@pytest.mark.parametrize("name", ["train", "audit", "run"])
def test_a_limit_on_files_is_named_and_after_it_is_raised_the_same_call_goes_on(calls, tmp_path, name):
    for limit in (10, 4000):
        with (
            files_at_most(limit),
            pytest.raises(WriteError, match=r"cannot write .*: File too large; raise the"),
        ):
            calls[name](tmp_path / "out")
        assert not (tmp_path / "out" / "record.json").exists()
    calls[name](tmp_path / "out")
    assert whole(tmp_path / "out")


@pytest.mark.parametrize("name", ["train", "audit", "run"])
def test_a_read_only_disk_is_named(calls, mounted, name):
    disk = mounted("ro")
    with pytest.raises(WriteError, match=r"cannot write .*: Read-only file system; name a folder"):
        calls[name](disk / "out")
    assert not (disk / "out").exists()


def test_a_finished_run_on_a_read_only_disk_is_shown(calls, mounted):
    disk = mounted("size=4m")
    calls["train"](disk / "out")
    before = sorted(file.name for file in (disk / "out").iterdir())
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert calls["train"](disk / "out").record.study == "train"
    assert sorted(file.name for file in (disk / "out").iterdir()) == before
