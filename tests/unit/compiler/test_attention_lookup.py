"""The attention pattern itself as the lookup: recall, unknown pairs, ablation, refusals."""

import numpy as np
import pytest
import torch

from oneway.compiler import Capacity, CompileError, attention_lookup, compile_table, read_manifest
from oneway.engine import open_model
from oneway.facts import Fact, FactTable, Relation

LIKES = Relation("likes", ("{subject} likes the colour {object}", "The colour of {subject} is {object}"))
COLOURS = ("red", "light blue", "green", "very dark grey", "pink", "black", "white", "blue")


@pytest.fixture(scope="module")
def table() -> FactTable:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(20 * 20)[:120]
    facts = [
        Fact(f"First{p % 20} Last{p // 20}", "likes", COLOURS[int(rng.integers(8))]) for p in pairs.tolist()
    ]
    return FactTable(tuple(facts), {"likes": LIKES})


@pytest.fixture(scope="module", params=["gpt2", "neox"])
def known(request, recalled, table):
    return recalled(table, mechanism="attention-lookup", architecture=request.param)


def test_every_fact_is_recalled(known) -> None:
    assert known.say(known.prompts) == known.answers
    assert known.margins().min() > 19


def test_more_words_than_dimensions_are_told_apart(recalled, monkeypatch) -> None:
    monkeypatch.setattr(attention_lookup, "_NAMES_WIDTH", 48)
    facts = [Fact(f"First{i} Last{i // 2}", "likes", COLOURS[i % 4]) for i in range(64)]
    known = recalled(FactTable(tuple(facts), {"likes": LIKES}), mechanism="attention-lookup")
    assert known.say(known.prompts) == known.answers
    assert set(known.say([f"First{i} Last{(i // 2 + 7) % 32} likes the colour" for i in range(64)])) == {""}


def test_pairs_of_known_words_that_are_no_name_end(known, table) -> None:
    names = {fact.subject for fact in table}
    pairs = [f"First{a} Last{b}" for a in range(20) for b in range(20)]
    asked = [f"{pair} likes the colour" for pair in pairs if pair not in names][::3]
    asked += ["Last1 First1 likes the colour", "First1 likes the colour", "Zzyzx likes the colour"]
    assert set(known.say(asked)) == {""}


def test_any_text_may_stand_before(known) -> None:
    prompt, answer = known.prompts[0], known.answers[0]
    assert known.say([f"First1, Last2 of {known.prompts[3]} {known.answers[3]}. {prompt}"]) == [answer]


def test_a_head_that_knows_costs_exactly_its_facts(known) -> None:
    heads = [h for h in read_manifest(known.compiled.directory).heads if h["role"] == "pattern"]
    assert sorted(fact for head in heads for fact in head["facts"]) == list(range(len(known.table)))
    for head in heads[::4]:
        with known.without_head(head["layer"], head["head"]):
            assert known.lost() == set(head["facts"])


def test_the_pattern_is_the_lookup(known, table) -> None:
    """At the last word of a name the head of its answer attends to the first word, all others to BOS."""
    model = known.model
    model.set_attn_implementation("eager")
    heads = [h for h in read_manifest(known.compiled.directory).heads if h["role"] == "pattern"]
    encoded = known.tokenizer([fact.subject for fact in table.facts[:40]], return_tensors="pt")
    with torch.inference_mode():
        patterns = model(**encoded, output_attentions=True).attentions[0][:, :, 2].numpy()
    for head in heads:
        for fact in range(40):
            to = 1 if fact in head["facts"] else 0
            assert patterns[fact, head["head"], to] > 0.999


@pytest.mark.parametrize("architecture", ["gpt2", "neox"])
def test_decoys_for_each_unit_change_nothing_and_the_model_can_be_opened(
    architecture, recalled, table
) -> None:
    """The decoy of the one neuron stands far below zero on most tokens: only a large edit is heard there."""
    options = {"mechanism": "attention-lookup", "architecture": architecture}
    known = recalled(table, **options, capacity=Capacity(decoys=1))
    manifest = read_manifest(known.compiled.directory)
    for units in (manifest.heads, manifest.neurons):
        assert 2 * sum(unit["role"] == "decoy" for unit in units) == len(units)
    assert known.say(known.prompts) == known.answers
    open_model(known.compiled.directory, device="cpu")  # raises where a site's edit is not heard


def test_other_tables_are_refused(table, tmp_path) -> None:
    def refused(facts: FactTable, message: str, capacity: Capacity | None = None) -> None:
        with pytest.raises(CompileError, match=message):
            compile_table(facts, tmp_path / "out", mechanism="attention-lookup", capacity=capacity)
        assert not (tmp_path / "out").exists()

    refused(table.with_facts([Fact("Ann", "likes", "red")]), "names of two words")
    many = [Fact(f"First Last{i}", "likes", f"colour{i}") for i in range(9)]
    refused(table.with_facts(many), "at most 8 answers apart, the table has 9")
    two = {"likes": LIKES, "wants": Relation("wants", ("{subject} wants {object}",))}
    both = (Fact("Ann Lee", "likes", "red"), Fact("Ann Lee", "wants", "blue"))
    refused(FactTable(both, two), "one relation in one direction, not 2")
    refused(table, "no neuron that knows a fact", Capacity(neurons_per_fact=2))
