"""Groups, chance and paired tests, by hand."""

import polars as pl
import pytest

from oneway.recall.summary import paired, per_fact, summarise


def row(fact: int, direction: str, exact: bool, **more: object) -> dict[str, object]:
    return {
        "fact": fact,
        "relation": "sport",
        "split": "seen",
        "direction": direction,
        "exact_match": exact,
        "rank": 1 if exact else 3,
        "logprob": -1.0,
        "logprob_per_token": -0.5,
        "margin": 2.0,
        "chance_uniform": 0.2,
        "chance_frequent": 0.3,
        "chance_surname": 0.1,
    } | more


def test_templates_of_a_fact_are_averaged_first_so_that_n_counts_facts():
    rows = pl.DataFrame(
        [
            row(0, "forward", True),
            row(0, "forward", False, logprob=-3.0),
            row(0, "forward", False),
            row(1, "forward", True),
        ]
    )
    found = per_fact(rows).sort("fact")
    assert found["exact_match"].to_list() == pytest.approx([1 / 3, 1.0])
    assert found["top1"].to_list() == pytest.approx([1 / 3, 1.0])
    assert found["logprob"].to_list() == pytest.approx([-5 / 3, -1.0])
    whole = summarise(rows)[0]
    assert (whole["facts"], whole["rows"], whole["exact_match"]["n"]) == (2, 4, 2)
    assert whole["exact_match"]["mean"] == pytest.approx(2 / 3)


def test_every_relation_and_split_has_an_entry_and_so_have_they_together():
    rows = pl.DataFrame(
        [
            row(0, "forward", True),
            row(1, "forward", False, split="unseen"),
            row(2, "forward", True, relation="mother"),
            row(3, "forward", True, relation="mother"),
        ]
    )
    means = {(e["relation"], e["split"]): e["exact_match"]["mean"] for e in summarise(rows)}
    assert means == {
        ("", ""): 0.75,
        ("sport", ""): 0.5,
        ("mother", ""): 1.0,
        ("", "seen"): 1.0,
        ("sport", "seen"): 1.0,
        ("mother", "seen"): 1.0,
        ("", "unseen"): 0.0,
        ("sport", "unseen"): 0.0,
    }


def test_chance_is_the_best_guesser_of_the_group_not_of_each_row():
    rows = pl.DataFrame(
        [
            row(0, "reverse", True, chance_frequent=0.9, chance_surname=0.0),
            row(1, "reverse", True, chance_frequent=0.0, chance_surname=0.8),
        ]
    )
    entry = summarise(rows)[0]
    assert (entry["guesser"], entry["chance"]) == ("frequent", pytest.approx(0.45))
    assert entry["guessers"] == pytest.approx({"uniform": 0.2, "frequent": 0.45, "surname": 0.4})


def test_margin_is_missing_where_no_fact_has_one():
    rows = pl.DataFrame([row(0, "forward", True, margin=None)], schema_overrides={"margin": pl.Float64})
    assert summarise(rows)[0]["margin"] is None


def test_forward_against_reverse_by_hand():
    """Six facts known forward only, none in reverse only: McNemar's p = 2 · (1/2)⁶ = 1/32."""
    rows = [row(i, "forward", True, logprob_per_token=-0.5) for i in range(8)]
    rows += [row(i, "reverse", i >= 6, logprob_per_token=-2.0 - i) for i in range(8)]
    rows += [row(8, "forward", True), row(9, "reverse", True)]  # asked one way only
    found = paired(per_fact(pl.DataFrame(rows)))
    assert found is not None
    counts = {name: found[name] for name in ("facts", "both", "forward_only", "reverse_only", "neither")}
    assert counts == {"facts": 8, "both": 2, "forward_only": 6, "reverse_only": 0, "neither": 0}
    assert found["p_value"] == pytest.approx(1 / 32)
    assert found["difference"]["mean"] == pytest.approx(1.5 + 3.5)
    assert found["difference"]["low"] > 0


def test_no_difference_has_a_p_value_of_one_and_no_pairs_no_test():
    same = [row(i, way, i == 0) for i in range(3) for way in ("forward", "reverse")]
    found = paired(per_fact(pl.DataFrame(same)))
    assert found is not None
    assert (found["p_value"], found["both"], found["neither"]) == (1.0, 1, 2)
    assert paired(per_fact(pl.DataFrame([row(0, "forward", True)]))) is None
