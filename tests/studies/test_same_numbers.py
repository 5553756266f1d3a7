"""The numbers of a study in processes of their own: run twice, and with another number of threads."""

import hashlib
import os
import subprocess
import sys

import polars as pl
import pytest

# After ten epochs at the quick rate: training amplifies the rounding of a step about fourfold an epoch.
TOLERANCE = 0.01  # nats or probability
PROGRAM = """
import sys
from oneway.studies.reversal import Config, Model, Training, trained
for at_once in (1, 2):
    training = Training(epochs=10, dropout=0.1, seeds_at_once=at_once)
    curves = trained(Config(training=training, model=Model(width=32)), (0, 1), None)
    curves.write_parquet(f"{sys.argv[1]}-{at_once}.parquet")
"""


def started(threads: int, out: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, out], env=environment)


@pytest.fixture(scope="module")
def curves(tmp_path_factory) -> dict[str, dict[int, bytes]]:
    """The bytes of the curves of three processes, by seeds at once."""
    folder = tmp_path_factory.mktemp("curves")
    found = {}
    for name, threads in (("one thread", 1), ("one thread again", 1), ("two threads", 2)):
        assert started(threads, str(folder / name)).wait(timeout=300) == 0
        found[name] = {n: (folder / f"{name}-{n}.parquet").read_bytes() for n in (1, 2)}
    return found


@pytest.mark.parametrize("at_once", [1, 2])
def test_two_processes_find_the_same_bytes(curves, at_once):
    first, again = (hashlib.sha256(curves[name][at_once]) for name in ("one thread", "one thread again"))
    assert first.digest() == again.digest()


@pytest.mark.parametrize("at_once", [1, 2])
def test_two_threads_find_the_same_numbers_within_the_stated_tolerance(curves, at_once):
    one, two = (pl.read_parquet(curves[name][at_once]) for name in ("one thread", "two threads"))
    both = one.join(two, on=["seed", "epoch", "quantity"], suffix="_two", validate="1:1")
    assert both.height == one.height == two.height > 0
    assert (both["value"] - both["value_two"]).abs().max() <= TOLERANCE
