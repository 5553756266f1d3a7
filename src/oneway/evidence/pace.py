"""How often long work saves its state: often enough to lose seconds, seldom enough to cost little."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SAVE_SECONDS = 2.0  # with the step or part that is under way, less than five seconds are lost
SLOW_SECONDS = 1.0  # a state that takes longer to write is one of gigabytes


class Pace:
    """Says when to save next: after `seconds`, and where saving takes more than a second, after 20 times as long.

    0 means at once, always.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around the saving itself."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        slow = self._seconds and ended - began > SLOW_SECONDS
        self._next = ended + (max(self._seconds, 20 * (ended - began)) if slow else self._seconds)
