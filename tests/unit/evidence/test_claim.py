"""Every way a claim can be judged."""

import math
from dataclasses import replace

import pytest

from oneway.evidence import Claim, Estimate, Study, Verdict

CLAIM = Claim(
    id="Z3",
    text="trained one way, not recalled the other",
    source="a paper, Fig. 1",
    rule="forward above 0.9 as control; reverse below 0.1 supports, above 0.5 refutes",
    control=lambda m: m["forward"].low > 0.9,
    supports=lambda m: m["reverse"].high < 0.1,
    refutes=lambda m: m["reverse"].low > 0.5,
)


def around(mean: float, half: float = 0.01) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 10, "probability")


@pytest.mark.parametrize(
    ("forward", "reverse", "verdict", "reason"),
    [
        (around(0.99), around(0.02), Verdict.REPRODUCED, "support"),
        (around(0.99), around(0.80), Verdict.CONTRADICTED, "refutation"),
        (around(0.99), around(0.30), Verdict.INCONCLUSIVE, "neither"),
        (around(0.99), around(0.09, 0.02), Verdict.INCONCLUSIVE, "neither"),  # the interval crosses the bar
        (around(0.50), around(0.02), Verdict.INCONCLUSIVE, "control"),
        (around(0.50), around(0.80), Verdict.INCONCLUSIVE, "control"),
        (around(0.99), Estimate(0.0, -math.inf, math.inf, 1, ""), Verdict.INCONCLUSIVE, "undefined"),
    ],
)
def test_each_branch_of_the_judge(forward, reverse, verdict, reason) -> None:
    judgement = CLAIM.judge({"forward": forward, "reverse": reverse})
    assert judgement.verdict is verdict
    assert reason in judgement.reason


def test_a_rule_that_both_supports_and_refutes_is_an_error() -> None:
    always = {"control": lambda m: True, "supports": lambda m: True, "refutes": lambda m: True}
    claim = Claim(id="X1", text="", source="", rule="", **always)
    with pytest.raises(ValueError, match="X1 both supports and refutes"):
        claim.judge({"a": around(0.5)})


def test_a_judgement_as_a_dictionary_has_what_a_reader_needs() -> None:
    measured = {"forward": around(0.99), "reverse": around(0.02)}
    found = CLAIM.judge(measured).to_dict()
    assert found["id"] == "Z3"
    assert found["verdict"] == "reproduced"
    assert found["rule"] == CLAIM.rule
    assert found["measured"]["reverse"] == pytest.approx(
        {"mean": 0.02, "low": 0.01, "high": 0.03, "n": 10, "unit": "probability"}
    )


def test_a_name_that_ends_in_a_star_reads_all_that_begin_so_and_no_other() -> None:
    claim = replace(CLAIM, reads=("forward", "reverse", "cell[*"))
    measured = {"reverse": around(0.02), "cell[a]": around(1.0), "forward": around(0.99)}
    measured |= {"cell[b]": around(2.0), "other": Estimate(math.nan, -math.inf, math.inf, 1, "")}
    found = claim.judge(measured)
    assert list(found.measured) == ["forward", "reverse", "cell[a]", "cell[b]"]
    assert found.verdict is Verdict.REPRODUCED
    nothing = {"forward": around(0.99), "reverse": around(0.02)}
    assert claim.judge(nothing).measured == nothing


def study(*claims: Claim) -> Study:
    return Study(
        name="s",
        title="",
        claims=claims,
        experiment=None,
        measure=None,
        figure=None,
        recipes={"quick": object},
    )


def test_a_study_has_no_two_claims_of_one_id() -> None:
    with pytest.raises(ValueError, match="Z3"):
        study(CLAIM, CLAIM)


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no recipe 'slow'; it has quick"):
        study(CLAIM).config("slow")


def test_a_rule_is_told_only_what_it_reads():
    rule = Claim(
        id="Z0",
        text="t",
        source="s",
        rule="r",
        control=lambda m: True,
        supports=lambda m: set(m) == {"a"},
        refutes=lambda m: False,
        reads=("a",),
    )
    fine, undefined = Estimate(0.5, 0.4, 0.6, 9, ""), Estimate(0.5, -math.inf, math.inf, 1, "")
    judged = rule.judge({"a": fine, "b": undefined})
    assert judged.verdict is Verdict.REPRODUCED
    assert set(judged.measured) == {"a"}
    assert rule.judge({"a": undefined, "b": fine}).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ValueError, match="not measured: a"):
        rule.judge({"b": fine})
