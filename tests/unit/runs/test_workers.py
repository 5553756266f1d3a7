"""Work side by side: all results, the first error, and no process that outlives the one that began it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oneway.runs.workers import side_by_side


def squared(piece: tuple[int, Path]) -> tuple[int, int]:
    number, folder = piece
    if number < 0:
        raise ValueError(f"{number} has no place here")
    (folder / str(number)).write_text(str(os.getpid()))
    return number * number, os.getpid()


def test_each_piece_has_its_result_and_a_process_of_its_own(tmp_path):
    pieces = [(number, tmp_path) for number in range(3)]
    found = {piece[0]: result for piece, result in side_by_side(squared, pieces, most=2)}
    assert {number: square for number, (square, _) in found.items()} == {0: 0, 1: 1, 2: 4}
    assert os.getpid() not in {process for _, process in found.values()}


def test_one_piece_is_worked_on_here(tmp_path):
    ((_, (_, process)),) = side_by_side(squared, [(3, tmp_path)])
    assert process == os.getpid()


def test_the_first_error_is_raised(tmp_path):
    with pytest.raises(ValueError, match="-1 has no place here"):
        list(side_by_side(squared, [(1, tmp_path), (-1, tmp_path)], most=2))


SLOW = """
import os, time
from pathlib import Path
from oneway.runs.workers import side_by_side

def slow(piece):
    folder, name = piece
    (Path(folder) / name).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    import sys
    list(side_by_side(slow, [(sys.argv[1], "a"), (sys.argv[1], "b")], most=2))
"""


def test_a_killed_process_leaves_no_children(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    parent = subprocess.Popen([sys.executable, script, tmp_path])
    marks = [tmp_path / "a", tmp_path / "b"]
    _until(lambda: all(mark.exists() and mark.read_text() for mark in marks))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    children = [int(mark.read_text()) for mark in marks]
    _until(lambda: not any(_runs(child) for child in children))


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def _until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
