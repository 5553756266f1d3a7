"""A study is a methods section as data: claims with their rules, the experiment, what is measured of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from oneway.evidence.claim import Claim, Judgement, Measured
from oneway.evidence.record import RunRecord

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


@runtime_checkable
class StudyConfig(Protocol):
    """What every study's config has: the seeds it runs by default.

    A config is a frozen dataclass; one with a field `device` ("cpu", "cuda", ...) can be sent to a device, one
    with a field `model`, `facts`, `relations` or `text` that is a string can be given another.
    """

    @property
    def seeds(self) -> Sequence[int]: ...


@runtime_checkable
class Audited(Protocol):
    """An audit, as an experiment may hand it back instead of curves.

    `rows` have one row per fact, direction and template, `skipped` one per question that could not be scored;
    `record` traces them to what was asked of which weights.
    """

    @property
    def rows(self) -> "pl.DataFrame": ...

    @property
    def skipped(self) -> "pl.DataFrame": ...

    @property
    def record(self) -> RunRecord: ...


@runtime_checkable
class Pictured(Protocol):
    """Curves, and beside them what the page shows of a dissection, as an experiment may hand them back."""

    @property
    def curves(self) -> "pl.DataFrame": ...

    @property
    def dissection(self) -> Mapping[str, Any] | None: ...


ConfigT = TypeVar("ConfigT", bound=StudyConfig)


@dataclass(frozen=True, kw_only=True)
class Study(Generic[ConfigT]):
    """Everything that is needed to run a family of claims and to judge them.

    `experiment(config, seeds, workspace)` gives the curves: a data frame with a row per seed, step and
    quantity; or an audit, whose rows then stand for the curves below; or curves with a dissection. `workspace`
    is a folder in which it may keep checkpoints to resume from, or None. `measure(curves)` gives the named
    estimates that the claims' rules read; `figure(measured, curves)` draws them, as one figure or as several by
    name; `tables(measured, curves)` are further tables of the run by name; `recipes` are functions that return a
    whole config ("quick", "standard", "paper"). `check(config)` raises ValueError for a config that cannot be run; it
    is called before anything is written.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    experiment: Callable[[ConfigT, Sequence[int], Path | None], "pl.DataFrame | Audited | Pictured"]
    measure: Callable[["pl.DataFrame"], Measured]
    figure: Callable[[Measured, "pl.DataFrame"], "Figure | Mapping[str, Figure]"]
    recipes: Mapping[str, Callable[[], ConfigT]]
    tables: Callable[[Measured, "pl.DataFrame"], "Mapping[str, pl.DataFrame]"] = lambda measured, curves: {}
    check: Callable[[ConfigT], object] = lambda config: None

    def __post_init__(self) -> None:
        """Raises ValueError where two claims share an id: a verdict could not be traced to its claim."""
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) != len(ids):
            raise ValueError(f"study {self.name} has two claims with one id: {', '.join(sorted(ids))}")

    def config(self, recipe: str) -> ConfigT:
        """The whole config of a recipe. Raises ValueError where the study has no such recipe."""
        if recipe not in self.recipes:
            raise ValueError(f"study {self.name} has no recipe {recipe!r}; it has {', '.join(self.recipes)}")
        return self.recipes[recipe]()

    def judge(self, measured: Measured) -> tuple[Judgement, ...]:
        """Every claim that the run asks about, judged by its fixed rule."""
        return tuple(claim.judge(measured) for claim in self.claims if claim.asked_in(measured))
