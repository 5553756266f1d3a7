"""State is saved every few seconds; where that takes more than a second, for a twentieth of the time."""

import pytest

from oneway.evidence import pace as module
from oneway.evidence.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def saved(pace: Pace, clock: list[float], seconds: float) -> None:
    with pace.saving():
        clock[0] += seconds


@pytest.mark.parametrize(("saving", "waits"), [(0.1, 3.0), (0.9, 3.0), (1.5, 30.0)])
def test_it_waits_longer_where_saving_is_slow(clock, saving, waits):
    pace = Pace(3.0)
    assert not pace.due
    clock[0] += 3.0
    assert pace.due
    saved(pace, clock, saving)
    clock[0] += waits - 0.01
    assert not pace.due
    clock[0] += 0.02
    assert pace.due


def test_zero_seconds_mean_always(clock):
    pace = Pace(0.0)
    assert pace.due
    saved(pace, clock, 5.0)
    assert pace.due
