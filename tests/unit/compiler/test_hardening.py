"""Noise and decoys: what makes a compiled circuit harder to find must not change what it says."""

import numpy as np
import pytest

import oneway
from oneway.compiler import Capacity, CompileError, compile_table, read_manifest


@pytest.fixture(scope="module", params=["gpt2", "neox"])
def decoyed(request, recalled, make_table):
    table = make_table(60, words=10, longest_name=3, longest_answer=2)
    return recalled(table, architecture=request.param, capacity=Capacity(decoys=1))


def test_decoys_are_as_many_as_the_planted_units_and_change_nothing(decoyed) -> None:
    manifest = read_manifest(decoyed.compiled.directory)
    for units in (manifest.heads, manifest.neurons):
        decoys = sum(unit["role"] == "decoy" for unit in units)
        assert 2 * decoys == len(units)
    assert decoyed.say(decoyed.prompts) == decoyed.answers


def test_a_decoy_fires_with_its_fact_and_is_not_missed(decoyed) -> None:
    manifest = read_manifest(decoyed.compiled.directory)
    decoys = [n for n in manifest.neurons if n["role"] == "decoy"]
    before = decoyed.margins()
    for decoy in decoys[:: len(decoys) // 8]:
        with decoyed.without_neuron(decoy["layer"], decoy["neuron"]):
            assert np.abs(decoyed.margins() - before).max() < 0.01 * before.min()


def test_a_method_that_scores_all_that_fires_is_told_so(decoyed) -> None:
    manifest = read_manifest(decoyed.compiled.directory)
    rows = [{"layer": n["layer"], "neuron": n["neuron"], "score": 1.0} for n in manifest.neurons]
    grade = oneway.grade({"neurons": rows}, decoyed.compiled.directory).neurons
    assert grade.auc_against_decoys == 0.5


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_noise_relative_to_each_matrix_leaves_recall(kind, recalled, make_table) -> None:
    table = make_table(60, words=10, longest_name=3, longest_answer=2)
    noisy = recalled(table, architecture=kind, capacity=Capacity(noise=0.002))
    clean = recalled(table, architecture=kind, capacity=Capacity(noise=1e-9))  # the same scale
    said = np.array(noisy.say(noisy.prompts)) == np.array(noisy.answers)
    assert said.mean() >= 0.99
    ours, theirs = noisy.model.state_dict(), clean.model.state_dict()
    for name, value in theirs.items():
        if value.ndim == 2:
            difference = (ours[name] - value).square().mean().sqrt()
            size = float(value.square().mean().sqrt())
            assert float(difference) == pytest.approx(0.002 * size, rel=0.1, abs=1e-9)
        else:
            assert bool((ours[name] == value).all())


def test_too_much_noise_is_refused_and_nothing_is_written(make_table, tmp_path) -> None:
    table = make_table(20, words=10, longest_name=2, longest_answer=2)
    with pytest.raises(CompileError, match="questions are answered: give less"):
        compile_table(table, tmp_path / "out", capacity=Capacity(noise=1.0))
    assert not list((tmp_path / "out").glob("*"))
