"""What a step is, and what it finds."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.evidence.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Finding:
    """Tables by name, estimates by name, and what could not be told, in words."""

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    measured: Mapping[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One question of the investigation. `measures` are the estimates that it gives, or says why it cannot."""

    id: str
    title: str
    measures: tuple[str, ...]
    ask: Callable[[Specimen], Finding]

    def __call__(self, specimen: Specimen) -> Finding:
        """What it finds; where the specimen does not allow it, estimates without a value, and a note that says why."""
        try:
            found = self.ask(specimen)
        except CannotTell as reason:
            found = Finding(notes=(f"{self.id}: {reason}",))
        missing = {name: untold() for name in self.measures if name not in found.measured}
        if stray := found.measured.keys() - set(self.measures):
            raise KeyError(f"step {self.id} measured what it does not name: {', '.join(sorted(stray))}")
        return Finding(found.tables, {**found.measured, **missing}, found.notes)


def untold() -> Estimate:
    """What was not measured: no value, and an infinite interval."""
    return Estimate(math.nan, -math.inf, math.inf, 0, "")
