"""What was planted is found, among as many decoys; what was not is not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.anatomy.asked import Asked, ask
from oneway.anatomy.found import NOTHING, Found, Lead, Without, find_circuit
from oneway.compiler import Capacity, compile_table, grade
from oneway.engine import Effects, Engine, Patch, Site, open_model
from oneway.facts import Fact, FactTable, Relation

CLUBS = ("Red Lions", "Blue Bears", "Green Sharks", "Grey Lions")
CLUB = Relation("club", ("{subject} plays for {object}",))


@dataclass(frozen=True, slots=True)
class Planted:
    table: FactTable
    folder: Path
    engine: Engine
    first: Asked
    later: Asked
    found: Found
    circuit: dict[str, Any]

    def units(self, kind: str) -> set[tuple[int, int]]:
        return {(u["layer"], u[kind]) for u in self.circuit[kind + "s"] if u["role"] != "decoy"}


@pytest.fixture(scope="module", params=["gpt2", "neox"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    names = [f"First{i} Last{j}" for i in range(7) for j in range(8) if (i + 2 * j) % 3]
    facts = tuple(Fact(name, "club", CLUBS[i % 4]) for i, name in enumerate(names))
    table, folder = FactTable(facts, {"club": CLUB}), tmp_path_factory.mktemp("found") / "model"
    compile_table(table, folder, architecture=request.param, capacity=Capacity(decoys=1))
    engine = open_model(folder, device="cpu")
    assert isinstance(engine, Engine)
    assert engine.tokenizer is not None
    first, later = (ask(engine.tokenizer, table, "club", said=said).groups[0] for said in (0, 1))
    circuit = json.loads((folder / "circuit.json").read_text())
    return Planted(table, folder, engine, first, later, find_circuit(engine, [first], [later]), circuit)


def test_what_was_planted_is_found_and_no_decoy_is(planted: Planted):
    for kind in ("head", "neuron"):
        assert planted.found.units(kind) == planted.units(kind)


def test_the_mover_of_the_next_token_is_found(planted: Planted):
    roles = {h["role"]: (h["layer"], h["head"]) for h in planted.circuit["heads"]}
    assert planted.found.next_output_movers() == [roles["next-output"]]


def test_a_fact_depends_on_its_own_neuron_and_on_those_that_hear_the_question(planted: Planted):
    roles = {(n["layer"], n["neuron"]): n for n in planted.circuit["neurons"]}
    facts = {(s, r, o): row for row, (s, r, o) in enumerate(planted.circuit["facts"])}
    for layer, neuron, subject, relation, object_, effect in planted.found.importance.iter_rows():
        serves = facts[subject, relation, object_] in roles[layer, neuron]["facts"]
        assert effect == (pytest.approx(40, rel=0.1) if serves else pytest.approx(0, abs=NOTHING))


def test_the_finding_is_of_the_form_that_is_graded(planted: Planted):
    graded = grade(planted.found.to_grade(planted.table), planted.folder)
    assert graded.heads is not None
    assert graded.neurons is not None
    assert graded.importance is not None
    for units in (graded.heads, graded.neurons):
        assert units.auc == units.auc_against_decoys == units.precision_at_planted == 1
    assert graded.importance.correlation > 0.999
    assert graded.importance.share_covered == 1


def test_a_unit_that_is_not_tried_would_have_changed_nothing(planted: Planted):
    """Units that are silent in all prompts are left out: taking them all out at once changes no lead."""
    tried = set(planted.found.neurons.select("layer", "neuron").iter_rows())
    engine, asked, form = planted.engine, planted.first, planted.engine.form
    patches = []
    for layer in range(form.layers):
        site = Site("mlp_post", layer)
        value = engine.run(asked.tokens, [site])[site].clone()
        value[..., [n for n in range(form.d_mlp) if (layer, n) not in tried]] = 0
        patches.append(Patch(site, value))
    told: Effects = engine.effects(asked.tokens, [tuple(patches)], Lead(right=asked.right_token))
    assert float(told.change.abs().max()) < 1e-3


def test_nothing_asked_is_refused(planted: Planted):
    with pytest.raises(ValueError, match="nothing is asked"):
        find_circuit(planted.engine, [])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_a_lead_is_over_the_largest_other(vocabulary: int, seed: int):
    class OfLogits:
        def __init__(self, logits):
            self.of = logits

        def logits(self):
            return self.of

    logits = torch.randn(2, 3, vocabulary, generator=torch.Generator().manual_seed(seed))
    right = torch.tensor([0, vocabulary - 1, 1])
    leads = Lead(right=right)(OfLogits(logits))  # type: ignore[arg-type]
    for run in range(2):
        for row, token in enumerate(right.tolist()):
            others = [float(x) for i, x in enumerate(logits[run, row]) if i != token]
            assert float(leads[run, row]) == pytest.approx(float(logits[run, row, token]) - max(others))


def test_shares_by_hand():
    """Of leads 10, 0.5 and of an unknown fact: a unit that takes half of both, one that makes the unknown one worse."""
    clean = torch.tensor([10.0, 0.5, -3.0])
    without = Without(
        clean, {(0, 1): torch.tensor([5.0, 0.25, -3.0]), (1, 0): torch.tensor([10.0, 0.5, -30])}
    )
    assert without.shares() == {(0, 1): 0.5, (1, 0): 0}
    unknown = Without(torch.tensor([-1.0]), {(0, 0): torch.tensor([-9.0])})
    assert unknown.shares() == {(0, 0): 0}


def test_nothing_is_a_mover_that_also_says_the_first_token():
    def table(kind: str, *rows: tuple) -> pl.DataFrame:
        return pl.DataFrame(rows, schema=["layer", kind, "first", "later", "found"], orient="row")

    heads = table("head", (0, 0, 1.0, 1.0, True), (2, 1, 0.0, 1.0, True))
    movers = table("head", (0, 0, 0.0, 1.0, True), (2, 1, 0.0, 1.0, True), (2, 2, 0.0, 0.01, False))
    assert Found(heads, table("neuron"), movers, pl.DataFrame()).next_output_movers() == [(2, 1)]
