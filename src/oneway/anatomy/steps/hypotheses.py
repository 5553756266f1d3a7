"""What the hypotheses of the posts predict, beside what this model shows."""

import polars as pl

from oneway.anatomy.hypotheses import TESTS, Judged, signature, verdicts
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.evidence import Measured
from oneway.evidence.estimate import Estimate

PREFIX = "hypotheses."


def judged(specimen: Specimen) -> Finding:
    """Every hypothesis, each of its cells as predicted and as measured, by levels calibrated on compiled models."""
    try:
        found = signature(specimen.engine, specimen.asked, specimen.extracting[0])
    except ValueError as error:
        raise CannotTell(str(error)) from error
    result = verdicts(found)
    outcomes = pl.DataFrame(
        {"hypothesis": list(result.outcomes), "outcome": list(result.outcomes.values())}
    ).with_columns(best=pl.col("hypothesis") == (result.best or ""))
    notes = [f"hypothesis {name}: {outcome}" for name, outcome in result.outcomes.items()]
    notes.append(f"the mechanism that fits best: {result.best or 'no single one'}")
    return Finding(
        {"hypotheses": result.cells, "outcomes": outcomes},
        {PREFIX + test: estimate for test, estimate in found.items()},
        tuple(notes),
    )


def judged_by(measured: Measured) -> Judged:
    """The verdicts of estimates that were kept, of one model or of several."""
    found: dict[str, Estimate] = {
        test: measured[PREFIX + test] for test in TESTS if PREFIX + test in measured
    }
    return verdicts({test: one for test, one in found.items() if one.defined})


STEPS = (
    Step(
        id="hypotheses",
        title="Hypotheses",
        measures=tuple(PREFIX + test for test in TESTS),
        ask=judged,
    ),
)
