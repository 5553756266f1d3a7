"""Compiled models of both kinds are told apart, a remedy is measured, and the branches of the rules."""

import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.studies.entries import (
    ALIGNED,
    ASKED,
    FOLLOWS,
    ONE,
    SCHEMA,
    STUDY,
    TWO,
    Config,
    Piece,
    judged,
    work,
)
from oneway.studies.entry_tables import compiled_entries

SMALL = Config(compiled=2, few=3, size=10, told=3, steps=60, remedies=("both directions",), seeds=(1, 2))


@pytest.mark.parametrize("kind", [ONE, TWO])
@pytest.mark.parametrize("seed", [108, 109, 111], ids=["plain", "noise", "NeoX with noise"])
def test_a_compiled_model_is_told_right(kind: str, seed: int) -> None:
    found = compiled_entries(kind, 4, seed)
    assert judged(float(found.alignment), float(found.edit)) == kind


def test_between_the_levels_nothing_is_said() -> None:
    assert judged(ALIGNED, FOLLOWS) == ONE
    assert judged(ALIGNED, 0.0) == judged(0.0, FOLLOWS) == "in between"
    assert judged(0.0, 0.0) == TWO


def test_pieces_are_measured_and_drawn(tmp_path) -> None:
    pieces = [Piece(SMALL, "compiled", name, (0, 1), tmp_path) for name in (ONE, TWO)]
    pieces.append(Piece(SMALL, "remedy", "both directions", SMALL.seeds, tmp_path))
    curves = pl.DataFrame([row for piece in pieces for row in work(piece)], schema=SCHEMA)
    measured = STUDY.measure(curves)
    assert measured[f"right[{ONE}]"].mean == measured[f"right[{TWO}]"].mean == 1.0
    assert measured["reverse[both directions]"].n == 2
    assert len(list(tmp_path.iterdir())) == 3
    STUDY.figure(measured, curves)


def around(mean: float, n: int = 20) -> Estimate:
    return Estimate(mean, mean - 0.01, mean + 0.01, n, "")


def good() -> dict[str, Estimate]:
    found = {f"right[{name}]": Estimate(1.0, 0.84, 1.0, 20, "") for name in (ONE, TWO)}
    for name, value in ((ONE, 0.8), (TWO, 0.0), *((remedy, 0.3) for remedy in ASKED)):
        found |= {f"{quantity}[{name}]": around(value) for quantity in ("alignment", "edit", "overlap")}
    return found | {f"reverse[{name}]": around(1.0) for name in ASKED}


@pytest.mark.parametrize(
    ("changed", "claim", "verdict"),
    [
        ({f"right[{ONE}]": Estimate(0.5, 0.3, 0.7, 20, "")}, "N3.entries", "contradicted"),
        ({f"right[{ONE}]": Estimate(1.0, 0.8, 1.0, 19, "")}, "N3.entries", "inconclusive"),
        ({"reverse[relation bridge]": around(0.3)}, "R7.relation-bridge.shared", "inconclusive"),
        ({"edit[relation bridge]": around(0.1)}, "R7.relation-bridge.shared", "inconclusive"),
        (
            {"edit[relation bridge]": around(0.0), "alignment[relation bridge]": around(0.0)},
            "R7.relation-bridge.shared",
            "contradicted",
        ),
    ],
    ids=["half right", "too few", "nothing recalled", "aligned only", "two entries"],
)
def test_branches_of_the_verdicts(changed: dict[str, Estimate], claim: str, verdict: str) -> None:
    found = {one.claim.id: one.verdict for one in STUDY.judge(good() | changed)}
    assert found.pop(claim) == Verdict(verdict)
    assert set(found.values()) == {Verdict.REPRODUCED}
