"""The verdict on compiled models is the mechanism that was compiled; by hand through the table of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.anatomy.asked import Asked, ask
from oneway.anatomy.hypotheses import (
    ATTENTION,
    LEVELS,
    MECHANISMS,
    MULTI_TOKEN,
    PARTIAL_HASH,
    PREDICTED,
    PURE_HASH,
    SINGLE_STEP,
    TESTS,
    Hypothesis,
    Kept,
    pooled,
    signature,
    verdicts,
)
from oneway.compiler import Capacity, compile_table
from oneway.engine import Engine, Patch, Site, Zero
from oneway.engine.opening import opened_checkpoint
from oneway.evidence.estimate import Estimate
from oneway.facts import Fact, FactTable, Relation
from oneway.models.checkpoint import Loading, load_checkpoint

ANSWERS = {
    "sport": ("plays the sport of", ("tennis", "rugby", "chess")),
    "town": ("was born in", ("Oslo", "Lima", "Rome", "Bern")),
}


def people(relations: Sequence[str], count: int = 100, seed: int = 0) -> FactTable:
    rng = np.random.default_rng(seed)
    names = rng.permutation([f"First{i} Last{j}" for i in range(12) for j in range(20)])[:count]
    facts = tuple(
        Fact(str(name), relation, str(rng.choice(ANSWERS[relation][1])))
        for name in names
        for relation in relations
    )
    words = {relation: f"{{subject}} {ANSWERS[relation][0]} {{object}}" for relation in relations}
    return FactTable(facts, {name: Relation(name, (text,)) for name, text in words.items()})


def compiled(folder: Path, mechanism: str, architecture: str) -> tuple[Engine, list[Asked]]:
    alone = mechanism == "attention-lookup"
    table = people(["sport"] if alone else ["sport", "town"])
    capacity = Capacity(positions=64, decoys=0 if alone else 1)
    compile_table(table, folder, mechanism, architecture, capacity=capacity)  # type: ignore[arg-type]
    engine = opened_checkpoint(load_checkpoint(str(folder), Loading(device="cpu", dtype="float32")))
    assert isinstance(engine, Engine)
    assert engine.tokenizer is not None
    return engine, [ask(engine.tokenizer, table, name).groups[0] for name in table.relations]


@pytest.mark.parametrize(
    ("mechanism", "architecture", "planted"),
    [
        ("neuron-per-fact", "neox", SINGLE_STEP),
        ("single-step", "gpt2", SINGLE_STEP),
        ("hash-and-lookup", "gpt2", PURE_HASH),
        ("partial-hash", "gpt2", PARTIAL_HASH),
        ("attention-lookup", "neox", ATTENTION),
    ],
)
def test_the_verdict_is_what_was_compiled(tmp_path, mechanism: str, architecture: str, planted: Hypothesis):
    engine, asked = compiled(tmp_path / "model", mechanism, architecture)
    judged = verdicts(pooled([signature(engine, one) for one in asked]))
    assert judged.best == planted
    for hypothesis in MECHANISMS:
        assert judged.outcomes[hypothesis] == ("survives" if hypothesis == planted else "rejected")
    assert judged.outcomes[MULTI_TOKEN] == ("rejected" if planted == ATTENTION else "survives")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Asked]:
    engine, (sport, _) = compiled(tmp_path_factory.mktemp("plain") / "model", "neuron-per-fact", "gpt2")
    return engine, sport


def test_recall_that_is_kept_is_by_hand_what_is_right_above_chance(plain):
    """With half of the neurons taken out, asked by another call of the engine."""
    engine, asked = plain
    kept = Kept(engine, asked)
    assert kept(()).mean == 1
    patch = tuple(
        Patch(Site("mlp_post", layer, position=asked.final, neuron=neuron), Zero())
        for layer in range(engine.layers)
        for neuron in range(0, engine.form.d_mlp, 2)
    )
    assert 0.05 < kept(patch).mean < 0.95
    answers = Site("logits", position=-1)
    said = engine.run(asked.tokens, [answers], patch)[answers][:, asked.answers].argmax(1)
    share, chance = (
        float((said == asked.right).double().mean()),
        float(asked.right.bincount().max()) / len(asked),
    )
    assert kept(patch).mean == pytest.approx((share - chance) / (1 - chance))


def test_what_cannot_be_had_is_left_out_and_the_verdict_goes_by_the_rest(plain):
    engine, asked = plain
    one_token = replace(asked, name=range(asked.final, asked.final + 1))
    found = signature(engine, one_token)
    assert {"excess at the end", "norms", "broken", "read without paths", "shared"}.isdisjoint(found)
    judged = verdicts(found)
    assert judged.best == SINGLE_STEP
    unmeasured = judged.cells.filter(test="excess at the end")
    assert unmeasured["measured"].null_count() == unmeasured["agrees"].null_count() == len(unmeasured) == 1
    assert set(signature(engine, asked, (0, 0))) == {
        "no MLPs",
        "patterns frozen",
        "no MLPs at the end",
        "no paths",
    }


def test_effects_of_neurons_on_two_relations_are_correlated_over_entities(plain):
    engine, asked = plain
    rng = np.random.default_rng(0)
    one = {f"e{i}": rng.normal(size=50) for i in range(10)}
    same = signature(engine, asked, (0, 0), effects={"a": one, "b": one})["shared"]
    assert same.mean == pytest.approx(1)
    assert "shared" not in signature(engine, asked, (0, 0), effects={"a": one})


def test_a_model_that_knows_nothing_is_refused(plain):
    engine, asked = plain
    wrong = replace(asked, right=(asked.right + 1) % 3)
    with pytest.raises(ValueError, match="there is no lookup to explain"):
        signature(engine, wrong)


def clear(above: Mapping[str, bool]) -> dict[str, Estimate]:
    """A signature whose tests are clearly on one side of their levels."""
    return {
        test: Estimate(level + side, level + side - 0.01, level + side + 0.01, 50, "")
        for test, up in above.items()
        for level, side in [(LEVELS[test], 0.3 if up else -0.3)]
    }


@pytest.mark.parametrize("planted", MECHANISMS)
def test_what_a_mechanism_predicts_is_judged_to_be_it(planted: Hypothesis):
    judged = verdicts(clear(PREDICTED[planted]))
    assert judged.best == planted
    assert judged.outcomes[planted] == "survives"
    agreeing = judged.cells.filter(hypothesis=planted)["agrees"]
    assert agreeing.all(ignore_nulls=False)


def test_every_mechanism_is_told_from_every_other_by_a_test():
    for one in MECHANISMS:
        for other in MECHANISMS:
            both = PREDICTED[one].keys() & PREDICTED[other].keys()
            opposite = [test for test in both if PREDICTED[one][test] != PREDICTED[other][test]]
            assert bool(opposite) == (one != other)
    for predicted in PREDICTED.values():
        assert set(predicted) <= set(LEVELS) <= set(TESTS)


def test_one_contradiction_rejects_and_an_interval_over_the_level_leaves_its_cell_open():
    found = clear(PREDICTED[SINGLE_STEP])
    wide = Estimate(0.9, -9.0, 9.0, 50, "")
    one_open = verdicts({**found, "excess at the end": wide})
    assert one_open.cells.filter(hypothesis=SINGLE_STEP, test="excess at the end")["agrees"].item() is None
    assert one_open.outcomes[SINGLE_STEP] == "survives"
    half_open = verdicts({**found, "excess at the end": wide, "no MLPs": wide})
    assert half_open.outcomes[SINGLE_STEP] == "undecided"
    against = verdicts({**found, **clear({"no paths": False}), "excess at the end": wide})
    assert against.outcomes[SINGLE_STEP] == "rejected"


def test_an_infinite_interval_is_no_measurement():
    one_fact = {test: Estimate(1.0, -np.inf, np.inf, 1, "") for test in TESTS}
    judged = verdicts(one_fact)
    assert judged.best is None
    assert set(judged.outcomes.values()) == {"undecided"}
    assert judged.cells["measured"].null_count() == len(judged.cells)


def test_nothing_measured_leaves_all_undecided():
    judged = verdicts({})
    assert judged.best is None
    assert set(judged.outcomes.values()) == {"undecided"}


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(LEVELS)), st.booleans()))
def test_a_hypothesis_survives_exactly_where_it_predicts_what_is_measured(above: dict[str, bool]):
    judged = verdicts(clear(above))
    for hypothesis, predicted in PREDICTED.items():
        both = [predicted[test] == up for test, up in above.items() if test in predicted]
        expected = "undecided" if not both else "survives" if all(both) else "rejected"
        assert judged.outcomes[hypothesis] == expected
    assert judged.best is None or judged.outcomes[judged.best] == "survives"


def test_pooling_by_hand():
    """30 facts with 1 ± 0.2 and 10 with 0 ± 0.4: 0.75 ± √(6² + 4²) / 40."""
    one, other = Estimate(1.0, 0.8, 1.2, 30, "x"), Estimate(0.0, -0.4, 0.4, 10, "x")
    found = pooled([{"no paths": one, "no MLPs": one}, {"no paths": other}])
    half = np.sqrt(52) / 40
    paths = found["no paths"]
    assert (paths.mean, paths.low, paths.high) == pytest.approx((0.75, 0.75 - half, 0.75 + half))
    assert (paths.n, paths.unit) == (40, "x")
    assert found["no MLPs"].low == pytest.approx(0.8)
    assert list(found) == ["no MLPs", "no paths"]
