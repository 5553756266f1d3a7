"""Who works where: unfinished runs are found again, finished and foreign folders are left alone."""

import subprocess
import sys
import textwrap

import pytest

from oneway.evidence import RunRecord
from oneway.evidence.record import fingerprint
from oneway.runs.directory import RunDirectory, RunError
from oneway.runs.unfinished import open_run

ASKED = {"config": {"width": 32}, "seeds": [0, 1]}


def finish(directory: RunDirectory) -> None:
    record = RunRecord(study="s", run_id=directory.path.name, title="", asked="", config={})
    directory.write_record(record)


def test_fingerprints_tell_questions_apart_and_ignore_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(ASKED) != fingerprint({**ASKED, "seeds": [0, 2]})


def test_an_unfinished_run_is_continued_and_a_finished_one_is_not(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, "s", ASKED, None) as first:
        raise KeyboardInterrupt
    with open_run(tmp_path, "s", {**ASKED, "seeds": [7]}, None) as other:
        assert other.path != first.path
        finish(other)
    with open_run(tmp_path, "s", ASKED, None) as second:
        assert second.path == first.path
        finish(second)
    with open_run(tmp_path, "s", ASKED, None) as third:
        assert third.path != first.path


def test_a_run_under_way_is_not_shared(tmp_path) -> None:
    with open_run(tmp_path, "s", ASKED, None) as first, open_run(tmp_path, "s", ASKED, None) as second:
        assert first.path != second.path
    out = tmp_path / "out"
    with (
        open_run(tmp_path, "s", ASKED, out),
        pytest.raises(RunError, match="another process is working"),
        open_run(tmp_path, "s", ASKED, out),
    ):
        pass


def test_a_killed_process_lets_go(tmp_path) -> None:
    """SIGKILL runs no clean-up: the lock must go with the process."""
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from oneway.runs.unfinished import open_run
        with open_run(Path({str(tmp_path)!r}), "s", {ASKED!r}, None) as directory:
            directory.write_text("workspace/seed-0", "done")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with open_run(tmp_path, "s", ASKED, None) as directory:
        assert (directory.path / "workspace" / "seed-0").read_text() == "done"


def test_what_a_killed_write_left_goes_when_the_run_goes_on(tmp_path) -> None:
    out = tmp_path / "out"
    left = [out / ".record.json.0123abcd.tmp", out / "deep" / ".x.parquet.ffffffff.tmp"]
    left_folder = out / ".config.json.89abcdef.tmp"
    others = [out / ".notes.tmp", out / "deep" / "a.0123abcd.tmp"]
    with open_run(tmp_path, "s", ASKED, out):
        left_folder.mkdir()
        (left_folder / "model.safetensors").touch()
        (out / "deep").mkdir()
        for file in (*left, *others):
            file.touch()
    with open_run(tmp_path, "s", ASKED, out):
        assert not any(path.exists() for path in (*left, left_folder))
        assert all(path.exists() for path in others)


def test_a_run_that_was_killed_before_it_said_what_was_asked_goes_on(tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".started.json.0123abcd.tmp").touch()
    with open_run(tmp_path, "s", ASKED, out) as directory:
        finish(directory)
    assert {file.name for file in out.iterdir()} == {"started.json", "record.json"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, OSError])
def test_who_is_stopped_is_told_that_the_same_command_continues(tmp_path, stop) -> None:
    with pytest.raises(stop) as stopped, open_run(tmp_path, "s", ASKED, tmp_path / "out"):
        raise stop
    assert "the same command continues" in stopped.value.__notes__[0]


def test_a_given_folder_that_is_taken_is_refused(tmp_path) -> None:
    def opened(out, asked=ASKED) -> None:
        with open_run(tmp_path, "s", asked, out):
            pass

    out = tmp_path / "out"
    opened(out)
    with pytest.raises(RunError, match="another config"):
        opened(out, {"config": {}})
    opened(out)  # the same question goes on
    finish(RunDirectory(out))
    opened(out)
    with pytest.raises(RunError, match="a finished run with another config"):
        opened(out, {"config": {}})
    (out / "started.json").write_text("{")
    with pytest.raises(RunError, match=r"cannot read .*started\.json"):
        opened(out)
    (out / "started.json").unlink()
    with pytest.raises(RunError, match="already holds a finished run"):
        opened(out)

    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "workspace").mkdir()
    with pytest.raises(RunError, match="is not a run"):
        opened(foreign)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is not a run"):
        opened(tmp_path / "file")
    assert list(foreign.iterdir()) == [foreign / "workspace"]
