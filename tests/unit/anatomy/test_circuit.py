"""N1 on compiled models with answers of two words: the planted parts are found where they were written."""

import json

import pytest

from oneway.anatomy.asked import ask
from oneway.anatomy.circuit import answer_on_the_way, carrying_heads, parts_of_names, without_subspace
from oneway.anatomy.extraction import direct, looking
from oneway.anatomy.hashing import names_of
from oneway.compiler import compile_table
from oneway.engine import open_model
from oneway.facts import Fact, FactTable, Relation

CLUBS = ("Red Lions", "Blue Bears", "Green Sharks", "Grey Lions")
# Every first word stands before two others: the next word can be another fact's.
SHARED = ("Red Lions", "Red Bears", "Blue Bears", "Blue Sharks", "Green Sharks", "Green Lions")


def compiled(answers: tuple[str, ...], folder):
    """A compiled model of two-word answers, its questions for the first and for the next word, and its manifest."""
    names = [f"First{i} Last{j}" for i in range(8) for j in range(9) if (i + 2 * j) % 3]
    facts = tuple(Fact(name, "club", answers[i % len(answers)]) for i, name in enumerate(names))
    table = FactTable(facts, {"club": Relation("club", ("{subject} plays for {object}",))})
    compile_table(table, folder)
    engine = open_model(folder, device="cpu")
    asked = [ask(engine.tokenizer, table, "club", said=said).groups[0] for said in (0, 1)]
    return engine, asked, json.loads((folder / "circuit.json").read_text())


@pytest.fixture(scope="module")
def clubs(tmp_path_factory):
    return compiled(CLUBS, tmp_path_factory.mktemp("clubs") / "model")


def test_the_next_word_is_asked_behind_the_first(clubs):
    engine, (first, second), _ = clubs
    assert second.tokens.shape[1] == first.tokens.shape[1] + 1
    assert second.name == first.name
    assert sorted(second.labels) == ["Blue Bears", "Green Sharks", "Red Lions / Grey Lions"]
    assert engine.tokenizer.decode(second.tokens[0, -1]) == first.facts[0].object.split()[0]


def test_the_previous_name_head_carries_the_first_name(clubs):
    engine, (first, _), circuit = clubs
    (planted,) = [(h["layer"], h["head"]) for h in circuit["heads"] if h["role"] == "previous-name"]
    top = carrying_heads(engine, first).row(0, named=True)
    assert (top["layer"], top["head"]) == planted
    assert top["attention"] > 0.99
    assert top["low"] > 1


def test_what_it_writes_is_a_subspace_that_the_answer_depends_on(clubs):
    engine, (first, _), circuit = clubs
    (layer,) = [h["layer"] for h in circuit["heads"] if h["role"] == "previous-name"]
    found = parts_of_names(engine, names_of(first), layer)
    row = found.table.filter(found.table["layer"] == layer).row(0, named=True)
    assert row["first"] > 0.1
    assert row["first"] + row["last"] + row["both"] == pytest.approx(1, abs=1e-6)
    assert found.basis.shape[1] <= 8
    kept = without_subspace(engine, first, layer, found.basis)
    assert kept["random"].keeps.mean == 1
    assert kept["subspace"].keeps.mean < 0.5


def test_the_next_word_leaves_the_name_with_the_first_and_is_moved_on_by_its_own_head(tmp_path):
    engine, (_, second), circuit = compiled(SHARED, tmp_path / "model")
    planted = {h["role"]: (h["layer"], h["head"]) for h in circuit["heads"]}
    (mover,) = direct(engine, second).direct.top_heads(1)
    assert mover == planted["next-output"]
    looks = looking(engine, second, [mover]).pattern.mean(1)[0]
    assert float(looks[second.last - 1]) > 0.99
    table = answer_on_the_way(engine, second)
    for (position, layer), expected in {
        (second.final, planted["relation"][0]): 1,
        (second.final, planted["relation"][0] + 1): 0,
        (second.last - 1, mover[0]): 1,
        (second.last, mover[0]): 0,
    }.items():
        row = table.filter((table["position"] == position) & (table["layer"] == layer))
        assert row["follows"].item() == expected, (position, layer)


def test_names_of_one_token_have_nothing_to_carry(clubs):
    engine, (first, _), _ = clubs
    from dataclasses import replace

    with pytest.raises(ValueError, match="one token"):
        carrying_heads(engine, replace(first, name=range(2, 3)))
