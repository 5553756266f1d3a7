"""Facts superposed on few neurons: recall, what each neuron is worth, what the hash breaks."""

import re
from collections import defaultdict

import numpy as np
import pytest
import torch

import oneway
from oneway.compiler import Capacity, CompileError, compile_table, read_manifest
from oneway.facts import Fact, FactTable, Relation

FEWER = {"single-step": 0.5, "hash-and-lookup": 0.9, "partial-hash": 0.9}
CASES = [
    ("single-step", "gpt2"),
    ("single-step", "neox"),
    ("hash-and-lookup", "gpt2"),
    ("partial-hash", "neox"),
]
RELATIONS = {
    "mother": Relation("mother", ("{subject} is the child of {object}",)),
    "father": Relation("father", ("{subject} has as father {object}",)),
    "town": Relation("town", ("{subject} lives in the town called {object}", "{subject}'s town: {object}")),
}


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def superposed(request, recalled, make_table):
    mechanism, architecture = request.param
    table = FactTable(make_table(150, longest_name=3, longest_answer=2).facts, RELATIONS)
    capacity = Capacity(neurons_per_fact=FEWER[mechanism])
    return recalled(table, mechanism=mechanism, architecture=architecture, capacity=capacity)


def lookup_neurons(known) -> list[dict]:
    manifest = read_manifest(known.compiled.directory)
    return [n for n in manifest.neurons if n["role"] in ("lookup", "hash")]


def least(known, margins: np.ndarray) -> np.ndarray:
    """Of every fact the least margin of its questions."""
    found = np.full(len(known.table), np.inf)
    np.minimum.at(found, known.facts, margins)
    return found


def test_every_fact_is_recalled_with_fewer_neurons_than_facts(superposed) -> None:
    assert superposed.say(superposed.prompts) == superposed.answers
    assert superposed.margins().min() > 15  # 20 were asked for
    assert superposed.compiled.summary()["facts_per_neuron"] > 1.05


def test_any_text_may_stand_before_and_other_words_have_no_name(superposed) -> None:
    prompt, answer = superposed.prompts[0], superposed.answers[0]
    other = superposed.table.facts[7].subject
    before = f"{other}, {superposed.prompts[3]} {superposed.answers[3]}. {other}. "
    assert superposed.say([before + prompt]) == [answer]
    assert superposed.say([f"{other} . Zzyzx lives in the town called", "Zzyzx 's town:"]) == ["", ""]


def test_the_manifest_predicts_what_every_neuron_is_worth(superposed) -> None:
    """Margins on the plain model, one neuron ablated at a time, against the manifest, for a sample of neurons."""
    neurons = lookup_neurons(superposed)
    before = least(superposed, superposed.margins())
    rows, predicted, measured = [], [], []
    for neuron in neurons[:: len(neurons) // 3]:
        with superposed.without_neuron(neuron["layer"], neuron["neuron"]):
            after = least(superposed, superposed.margins())
        predicted.append(neuron["effects"])
        measured.append(before - after)
        lost = np.isin(np.arange(len(after)), neuron["facts"])
        clear = np.abs(after) > 5
        assert np.array_equal(lost[clear], (after <= 0)[clear])
        rows += [
            {"layer": neuron["layer"], "neuron": neuron["neuron"], "fact": fact, "effect": float(effect)}
            for fact, effect in enumerate(before - after)
        ]
    assert np.corrcoef(np.ravel(predicted), np.ravel(measured))[0, 1] > 0.99
    assert np.std(predicted) > 1
    grade = oneway.grade({"importance": rows}, superposed.compiled.directory).importance
    assert grade.correlation > 0.99


def test_without_the_planted_neurons_nothing_is_left_and_others_cost_nothing(superposed) -> None:
    planted = {(n["layer"], n["neuron"]) for n in lookup_neurons(superposed)}
    listed = {(n["layer"], n["neuron"]) for n in read_manifest(superposed.compiled.directory).neurons}
    circuit = superposed.compiled.circuit
    others = {(at, n) for at in range(len(circuit.layers)) for n in range(circuit.neurons)} - listed
    assert others
    before = superposed.margins()
    with superposed.without_neurons(others):
        assert np.array_equal(superposed.margins(), before)
    with superposed.without_neurons(planted):
        assert set(superposed.say(superposed.prompts)) == {""}


def test_facts_of_one_name_are_in_different_neurons_where_they_are_hashed(recalled, make_table) -> None:
    known = recalled(
        make_table(120, longest_name=2, longest_answer=1),
        mechanism="hash-and-lookup",
        capacity=Capacity(neurons_per_fact=1),
    )
    facts = known.table.facts
    for neuron in lookup_neurons(known):
        if neuron["role"] == "lookup":
            moved = np.flatnonzero(np.abs(neuron["effects"]) > 1e-3)
            assert len({facts[fact].relation for fact in moved}) <= 1


def test_hash_codes_of_names_that_share_words_are_nearly_orthogonal(recalled, make_table) -> None:
    known = recalled(
        make_table(150, longest_name=2, longest_answer=1),
        mechanism="hash-and-lookup",
        capacity=Capacity(neurons_per_fact=3),
    )
    names = sorted({fact.subject for fact in known.table if len(fact.subject.split()) == 2})
    encoded = known.tokenizer([f" {name}" for name in names], return_tensors="pt")
    place = known.compiled.circuit.residual["hash"].slice
    layer = next(n["layer"] for n in lookup_neurons(known))
    with torch.inference_mode():
        states = known.model(**encoded, output_hidden_states=True).hidden_states[layer + 1]
    codes = states[:, -1, place].numpy()
    codes -= codes.mean(0)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    alike = np.abs(codes @ codes.T)
    same = np.array([[a != b and bool({*a.split()} & {*b.split()}) for b in names] for a in names])
    assert alike[same].mean() < 0.35  # the codes of their words: 0.5


def test_partial_hash_has_the_answers_weakly_where_it_hashes(recalled) -> None:
    """Asked of the hash layer's own writes alone, the right answer is likelier than chance and short of END."""
    rng = np.random.default_rng(0)
    facts = [Fact(f"First{i % 20} Last{i // 5}", "likes", f"colour{rng.integers(6)}") for i in range(150)]
    table = FactTable(tuple(facts), {"likes": Relation("likes", ("{subject} likes {object}",))})
    known = recalled(table, mechanism="partial-hash", capacity=Capacity(neurons_per_fact=1))
    late = {(n["layer"], n["neuron"]) for n in lookup_neurons(known) if n["role"] == "lookup"}
    prompts = [f"{fact.subject} likes" for fact in table]
    encoded = known.tokenizer(prompts, return_tensors="pt", padding=True)
    words = known.tokenizer.convert_tokens_to_ids([f"▁colour{i}" for i in range(6)])
    with known.without_neurons(late), torch.inference_mode():
        logits = known.model(**encoded).logits[:, -1]
    right = np.array([int(fact.object[-1]) for fact in table])
    among = (logits[:, words].argmax(1).numpy() == right).mean()
    said = (logits.argmax(1).numpy() == np.array(words)[right]).mean()
    assert among > 0.4  # 1/6 by chance
    assert said < among / 2


@pytest.mark.parametrize("mechanism", ["single-step", "hash-and-lookup"])
def test_neurons_too_few_are_refused_with_a_number_that_does(mechanism, make_table, tmp_path) -> None:
    table = make_table(60, longest_name=2, longest_answer=1)
    with pytest.raises(CompileError, match="the smallest found that would do is") as refused:
        compile_table(table, tmp_path / "out", mechanism=mechanism, capacity=Capacity(neurons=9))
    assert not (tmp_path / "out").exists()
    found = re.search(r"would do is (\d+), ([\d.]+) of all blocks a fact", str(refused.value))
    for enough in (Capacity(neurons=int(found[1])), Capacity(neurons_per_fact=float(found[2]))):
        compile_table(table, tmp_path / "out", mechanism=mechanism, capacity=enough)


def test_neurons_that_look_up_are_in_several_blocks_and_each_has_some_of_every_relation(
    recalled, make_table
) -> None:
    known = recalled(make_table(60, longest_name=2, longest_answer=1), mechanism="hash-and-lookup")
    facts, of_block = known.table.facts, defaultdict(set)
    for neuron in lookup_neurons(known):
        if neuron["role"] == "lookup":
            moved = np.flatnonzero(np.abs(neuron["effects"]) > 1e-3)
            of_block[neuron["layer"]] |= {facts[fact].relation for fact in moved}
    assert len(of_block) == 3
    assert all(len(relations) == 3 for relations in of_block.values())


def test_a_name_word_before_the_slot_is_refused(tmp_path) -> None:
    relation = Relation("has", ("King {subject} has {object}",))
    table = FactTable((Fact("Arthur King", "has", "one"),), {"has": relation})
    with pytest.raises(CompileError, match="a name here is the whole run"):
        compile_table(table, tmp_path / "out", mechanism="single-step")
