"""A file is written whole or not at all."""

import errno
import os

import pytest

from oneway.evidence import atomic


def test_writes_and_replaces(tmp_path) -> None:
    path = tmp_path / "deep" / "er" / "f.txt"
    assert atomic.write_text(path, "one\r\n") == path
    atomic.write_text(path, "zwei €")
    assert path.read_bytes() == "zwei €".encode()
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = atomic.write_text(tmp_path / "f", "old")

    def half(file) -> None:
        file.write(b"ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(atomic.WriteError, match=r"cannot write .*f: No space left on device"):
        atomic.write_with(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_midway_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = atomic.write_text(tmp_path / "f", "old")

    def interrupted(file) -> None:
        file.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_with(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_parent_that_is_a_file_is_named(tmp_path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(atomic.WriteError, match=r"cannot write .*f/g"):
        atomic.write_text(tmp_path / "f" / "g", "x")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path) -> None:
    (tmp_path / "d").mkdir(mode=0o500)
    with pytest.raises(atomic.WriteError, match=r"cannot write .*d/f: Permission denied"):
        atomic.write_text(tmp_path / "d" / "f", "x")


def test_half_a_surrogate_pair_is_written_as_an_escape(tmp_path) -> None:
    assert atomic.write_text(tmp_path / "f", '"\udc80"').read_text() == '"\\udc80"'
