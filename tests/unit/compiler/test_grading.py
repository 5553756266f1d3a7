"""The manifest as a method developer reads it, and scores by hand."""

import json
import math

import numpy as np
import pytest
import torch

import oneway
from oneway.compiler import ManifestError, read_manifest


@pytest.fixture(scope="module")
def manifest(small):
    return read_manifest(small.compiled.directory)


def test_the_manifest_names_every_unit_once(small, manifest) -> None:
    circuit = small.compiled.circuit
    heads = {(h["layer"], h["head"]) for h in manifest.heads}
    neurons = {(n["layer"], n["neuron"]) for n in manifest.neurons}
    assert len(heads) == len(manifest.heads) == sum(len(layer.heads) for layer in circuit.layers)
    assert len(neurons) == len(manifest.neurons) == sum(layer.neurons for layer in circuit.layers)
    facts = [fact for n in manifest.neurons if n["role"] == "fact" for fact in n["facts"]]
    assert sorted(facts) == list(range(len(small.table)))
    config = small.model.config
    assert manifest.shape("layers") == config.num_hidden_layers
    assert manifest.shape("d_model") == config.hidden_size


def test_directions_are_what_the_model_reads(small, manifest) -> None:
    """Put onto the output, the direction of an answer makes the model say it."""
    unembed = small.model.lm_head.weight.detach().numpy()
    word = next(name for name in manifest.direction_names() if name.startswith("output | "))
    logits = unembed @ manifest.direction(word)
    assert small.tokenizer.convert_ids_to_tokens(int(logits.argmax())) == word.removeprefix("output | ")
    for name in manifest.direction_names():
        assert np.linalg.norm(manifest.direction(name)) == pytest.approx(1)


def test_every_answer_direction_lies_where_a_fact_neuron_writes(small, manifest) -> None:
    neuron = next(n for n in manifest.neurons if n["role"] == "fact")
    channel, answer = neuron["label"].split(" | ")[1:]
    direction = manifest.direction(f"{channel}: output | {answer.split(' ')[0]}")
    state = small.model.state_dict()
    if "transformer.wte.weight" in state:
        written = state[f"transformer.h.{neuron['layer']}.mlp.c_proj.weight"][neuron["neuron"]]
    else:
        written = state[f"gpt_neox.layers.{neuron['layer']}.mlp.dense_4h_to_h.weight"][:, neuron["neuron"]]
    assert torch.dot(written, torch.tensor(direction).float()) > 0.05


def test_units_by_hand(small, manifest) -> None:
    """Two planted heads and one other one are found: 2 of 3 at the top, ties below."""
    planted = [(h["layer"], h["head"]) for h in manifest.heads]
    shape = manifest.shape("layers"), manifest.shape("heads")
    free = next(unit for unit in np.ndindex(shape) if unit not in planted)
    rows = [{"layer": layer, "head": head, "score": score} for (layer, head), score in
            [(planted[0], 3.0), (free, 2.0), (planted[1], 1.0)]]  # fmt: skip
    grade = oneway.grade({"heads": rows}, small.compiled.directory).heads
    n, units = len(planted), shape[0] * shape[1]
    pairs = (units - n) + (units - n - 1) + (n - 2) * (units - n - 1) / 2
    assert grade.auc == pytest.approx(pairs / (n * (units - n)))
    assert grade.average_precision == pytest.approx((1 + 2 / 3 + (n - 2) * n / units) / n)
    assert grade.precision_at_planted == pytest.approx(2 / n)
    assert (grade.planted, grade.units, grade.auc_against_decoys) == (n, units, None)


def test_the_truth_itself_has_full_marks(small, manifest, tmp_path) -> None:
    names = list(manifest.direction_names())[::7]
    found = {
        "heads": [{"layer": h["layer"], "head": h["head"], "score": 1.0} for h in manifest.heads],
        "neurons": [{"layer": n["layer"], "neuron": n["neuron"], "score": 2.0} for n in manifest.neurons],
        "directions": {name: (3 * manifest.direction(name)).tolist() for name in names},
        "importance": [
            {"layer": n["layer"], "neuron": n["neuron"], "fact": fact, "effect": float(fact in n["facts"])}
            for n in manifest.neurons
            for fact in range(len(small.table))
        ],
    }
    file = tmp_path / "found.json"
    file.write_text(json.dumps(found))
    grade = oneway.grade(file, small.compiled.directory / "circuit.json")
    for units in (grade.heads, grade.neurons):
        assert (units.auc, units.average_precision, units.precision_at_planted) == (1, 1, 1)
    assert grade.directions.mean_cosine == pytest.approx(1)
    assert grade.directions.share_found == 1
    importance = grade.importance
    assert (importance.auc, importance.share_covered) == (1, 1)
    assert importance.correlation == pytest.approx(1)
    json.dumps(grade.to_dict())


def test_zero_ablation_finds_the_fact_neurons(small, manifest) -> None:
    """A method that knows nothing of the manifest: each neuron's effect on each question's margin."""
    layer = next(n["layer"] for n in manifest.neurons if n["role"] == "fact")
    chosen = [n["neuron"] for n in manifest.neurons if n["layer"] == layer][:20]
    before = small.margins()
    rows = []
    for neuron in chosen:
        with small.without_neuron(layer, neuron):
            change = before - small.margins()
        rows += [
            {
                "layer": layer,
                "neuron": neuron,
                "fact": fact,
                "effect": float(change[small.facts == fact].max()),
            }
            for fact in range(len(small.table))
        ]
    grade = oneway.grade({"importance": rows}, small.compiled.directory).importance
    assert grade.auc == 1
    assert grade.correlation > 0.99


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "a finding has some of"),
        ({"units": []}, "not 'units'"),
        ({"heads": [{"layer": 99, "head": 0, "score": 1}]}, "there is no head 0 in layer 99"),
        ({"heads": [{"layer": 0, "score": 1}]}, "by whole numbers"),
        ({"neurons": [{"layer": 0, "neuron": 0, "score": math.nan}]}, "finite score"),
        ({"directions": {"output | nobody": [0.0]}}, "finite numbers"),
        (
            {"importance": [{"layer": 0, "neuron": 0, "fact": 10**6, "effect": 1}]},
            "not a row of the manifest",
        ),
    ],
    ids=["nothing", "unknown-part", "no-such-layer", "no-unit", "nan", "short-vector", "no-such-fact"],
)
def test_what_is_wrong_with_a_finding_is_said(found, message, small) -> None:
    with pytest.raises(ValueError, match=message):
        oneway.grade(found, small.compiled.directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a circuit"),
        ('{"format": "oneway circuit", "version": 0}', "has version 0"),
    ],
    ids=["broken", "other", "version"],
)
def test_what_is_no_manifest_is_refused(text, message, tmp_path) -> None:
    with pytest.raises(ManifestError, match="there is no"):
        read_manifest(tmp_path)
    (tmp_path / "circuit.json").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path)
