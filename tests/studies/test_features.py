"""Read-outs and splices against plain computations, planted directions by the manifest, a tiny run, the verdicts."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from oneway.compiler import compile_table, grade, read_manifest
from oneway.engine import open_model
from oneway.evidence import Estimate, Verdict
from oneway.facts import athletes
from oneway.studies.default_model import RELATION
from oneway.studies.feature_config import Config, Dictionaries, Planted, World
from oneway.studies.feature_reading import held_out, moved_without, people, spliced_in, stood_for
from oneway.studies.features import SCHEMA, STUDY, grow, sharpest, table
from oneway.studies.planted_features import people as planted_people
from oneway.studies.planted_features import planted, recovered

needs_library = pytest.mark.skipif(
    find_spec("sae_lens") is None, reason="SAELens is not installed: `make features`"
)
TINY = Config(
    world=World(athletes=30, first_names=6, surnames=10, layers=2, width=16, steps=3, roll_steps=1, rows=8),
    dictionaries=Dictionaries(latents=32, widths=(8, 64), active=2, steps=2, batch=16, batches=2, ablated=2),
    planted=Planted(people=25, first_names=5, surnames=20, steps=2, batch=16),
    seeds=(0, 1),
)


class Known:
    """A dictionary with given directions whose reconstruction moves an activation by so much."""

    def __init__(self, directions: torch.Tensor, off: float = 0.0) -> None:
        self.directions, self.off, self.centre = directions, off, torch.zeros(directions.shape[1])

    def latents(self, values):
        return (values @ self.directions.T).clamp_min(0) * (values @ self.directions.T > 0.5)

    def reconstruction(self, values):
        return values + self.off

    def variance_explained(self, values):
        return 1.0


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    return grow(TINY, 0, tmp_path_factory.mktemp("features") / "model")


def test_the_same_people_stand_in_four_texts(grown):
    engine, of, tokens = grown
    assert len(of.texts) == 4
    names = [fact.subject for fact in table(TINY.world, 0)]
    for asked in of.texts:
        assert [fact.subject for fact in asked.facts] == names
        last = engine.tokenizer.convert_ids_to_tokens(asked.tokens[:, asked.final].tolist())
        assert last == [name.split()[1] for name in names]
    assert tokens.shape == (16, 32)
    with pytest.raises(ValueError, match="not about the same people"):
        people([of.texts[0], of.texts[1].only(range(29))], 0)


def test_nobody_is_chosen_on_and_judged_by(grown):
    """A latent that fires on one half of the people says nothing of the other half; entities are told text by text."""
    _, of, _ = grown
    latents = np.zeros((4, 30, 2))
    latents[:, of.half[:15], 0] = of.labels["sport"][of.half[:15]] == 0
    latents[:, 7, 1] = 1.0
    held = held_out(latents, of)
    assert held["sport"].chosen.auc[0, 0] == 1.0
    assert held["sport"].judged.auc[0, 0] == 0.5
    found = stood_for(latents, of)
    assert found["sport found"] == 0
    assert found["entity found"] == pytest.approx(1 / 30)
    assert found["entity latents"] == 0.5


def test_a_perfect_dictionary_costs_nothing(grown):
    from oneway.engine import Site

    engine, of, _ = grown
    perfect = spliced_in(engine, Site("resid_post", 0), of.question, Known(torch.eye(16)), 0)
    assert perfect["recovered"] == pytest.approx(1.0)
    assert perfect["loss spliced"] == pytest.approx(perfect["loss"], abs=1e-6)
    assert perfect["extra loss"] == pytest.approx(0, abs=1e-6)
    bad = spliced_in(engine, Site("resid_post", 0), of.question, Known(torch.eye(16), 9.0), 0)
    asked, at = of.question, Site("resid_post", 0)
    from oneway.engine import LogProbability, Patch

    value = engine.run(asked.tokens, [at])[at] + 9.0
    value[:, 0] -= 9.0  # the BOS is as it was
    effects = engine.effects(asked.tokens, [Patch(at, value)], LogProbability(answer=asked.right_token))
    assert bad["loss spliced"] == pytest.approx(-float(effects.patched.mean()), abs=1e-5)


def test_what_moves_by_hooks_of_its_own(grown):
    """A dictionary of one direction: every value's best latent is that one, so that one ablation stands for all."""
    from transformers import AutoModelForCausalLM

    from oneway.engine import Site

    engine, of, _ = grown
    asked, direction = of.question, torch.nn.functional.normalize(torch.ones(1, 16) + torch.arange(16.0))
    site = Site("resid_post", 0, position=asked.final)
    found = moved_without(engine, site, of, Known(direction), np.ones((4, 30, 1)), most=30, seed=0)
    plain = AutoModelForCausalLM.from_pretrained(engine.name)

    def without(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden[:, asked.final] -= (hidden[:, asked.final] @ direction[0])[:, None] * direction[0]

    with torch.no_grad():
        before = plain(asked.tokens).logits[:, -1, asked.answers].argmax(1)
        handle = plain.gpt_neox.layers[0].register_forward_hook(without)
        after = plain(asked.tokens).logits[:, -1, asked.answers].argmax(1)
        handle.remove()
    assert found["entity moved own"] == pytest.approx(float((before != after).double().mean()))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "model"
    compile_table(planted_people(TINY.planted, 0), folder, architecture="neox")
    return open_model(folder, device="cpu"), read_manifest(folder), folder


def test_planted_neurons_are_those_of_known_facts(compiled):
    engine, manifest, _ = compiled
    facts = planted_people(TINY.planted, 0)
    values, directions, seen = planted(engine, manifest, facts, "mlp", 0)
    layers = [neuron["layer"] for neuron in manifest.neurons if neuron["role"] == "fact"]
    layer = max(set(layers), key=layers.count)
    assert len(values) == 2 * 3 * 25  # known and unknown people, three forms
    assert len(directions) == layers.count(layer)
    assert seen.all()
    assert set(directions.sum(1).tolist()) == {1.0}
    assert int((values @ directions.T > 0.5).sum()) == 3 * layers.count(layer)


def test_planted_codes_are_found_by_themselves_and_graded_alike(compiled):
    engine, manifest, folder = compiled
    values, directions, seen = planted(engine, manifest, planted_people(TINY.planted, 0), "residual", 0)
    names = list(manifest.direction_names())
    every = np.array([manifest.direction(name) for name in names])
    on = [name for name, one in zip(names, every, strict=True) if (values.numpy() @ one).max() >= 0.5]
    assert len(on) == len(directions) >= 5 + 8 + 3
    assert recovered(Known(directions), values, directions, seen) == {
        "precision": 1.0,
        "recall": 1.0,
        "variance": 1.0,
        "alive": 1.0,
    }
    some = Known(torch.cat([directions[:4], directions[4:5] + directions[5:6]]))
    found = recovered(some, values, directions, seen)
    assert found["precision"] == pytest.approx(4 / 5)
    assert found["recall"] == pytest.approx(4 / len(directions))
    scored = grade({"directions": dict(zip(on, directions.tolist(), strict=True))}, folder).directions
    assert scored is not None
    assert scored.share_found == 1.0


def test_the_sharpest_rise_by_hand():
    by_layer = np.array([[0.5, 0.5, 0.6], [0.6, 1.0, 0.6], [0.8, 0.9, 0.6], [0.9, 1.0, 0.5]])
    found = sharpest(by_layer)
    assert found[:2] == pytest.approx([0.2 / 0.4, 1.0])
    assert np.isnan(found[2])


def test_the_missing_library_is_named_before_anything_is_written(monkeypatch):
    monkeypatch.setattr("oneway.anatomy.sparse_autoencoder.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install"):
        STUDY.check(TINY)


def test_without_a_workspace_nothing_is_grown():
    with pytest.raises(ValueError, match="workspace"):
        STUDY.experiment(TINY, (0,), None)


@needs_library
def test_a_tiny_run_has_estimates_a_figure_and_the_same_numbers_again(tmp_path, monkeypatch):
    monkeypatch.setattr("oneway.runs.workers.cores", lambda: 1)
    curves = STUDY.experiment(TINY, TINY.seeds, tmp_path)
    monkeypatch.setattr("oneway.studies.features.grown_rows", None)
    assert STUDY.experiment(TINY, TINY.seeds, tmp_path).equals(curves)
    assert dict(curves.schema) == SCHEMA
    measured = STUDY.measure(curves)
    assert {name for claim in STUDY.claims for name in claim.reads} <= set(measured)
    assert 0 <= measured["planted_mlp_recall"].mean <= 1
    drawn = curves.filter(part="widths")["latents"].unique().sort().to_list()
    assert drawn == [8, 64]
    assert len(STUDY.figure(measured, curves).axes) == 4
    seeds = STUDY.tables(measured, curves)["seeds"]
    assert seeds["seed"].to_list() == [0, 1]
    assert {"recall", "moved", "sport auc", "entity moved own", "recovered"} <= set(seeds.columns)
    assert len(STUDY.judge(measured)) == len(STUDY.claims)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


GOOD = {name: 0.0 for claim in STUDY.claims for name in claim.reads} | {
    "sharpest": 0.5,
    "sport_auc_best": 0.99,
    "sport_auc_shuffled": 0.5,
    "names_found": 0.8,
    "surname_auc_embedding": 0.95,
    "probe_middle": 0.99,
    "sport_found_middle": 0.9,
    "sport_auc_gain": 0.2,
    "entity_found_widest": 0.8,
    "planted_mlp_recall": 0.95,
    "planted_mlp_precision": 0.95,
    "moved": 0.9,
    "sport_moved_gain": 0.5,
    "right_mean": 0.01,
    "variance_names": 0.9,
    "recovered": 0.99,
    "chance": 0.37,
    "faithful_middle": 0.9,
    "planted_residual_recall": 0.95,
    "planted_residual_precision": 0.95,
    "planted_residual_variance": 0.99,
}


@pytest.mark.parametrize(
    ("change", "claim", "verdict"),
    [
        ({"sharpest": 0.9}, "F19.sharp-layer", "contradicted"),
        ({"sharpest": 0.75}, "F19.sharp-layer", "inconclusive"),
        ({"sport_auc_shuffled": 0.7}, "F19.sharp-layer", "inconclusive"),
        ({"names_found": 0.1}, "F19.name-latents", "contradicted"),
        ({"surname_auc_embedding": 0.6}, "F19.name-latents", "inconclusive"),
        ({"sport_found_middle": 0.1}, "F19.attribute-latents", "contradicted"),
        ({"sport_auc_gain": 0.01}, "F19.untrained", "contradicted"),
        ({"entity_found_widest": 0.1}, "F19.entity-latents", "contradicted"),
        ({"sport_moved_gain": 0.01}, "F19.ablated-latents", "contradicted"),
        ({"recovered": 0.5}, "F19.missed", "contradicted"),
        ({"right_mean": 0.7}, "F19.missed", "inconclusive"),
        ({"faithful_middle": 0.4}, "F19.linear-relation", "contradicted"),
        ({"chance": 0.6}, "F19.linear-relation", "inconclusive"),
        ({"planted_mlp_precision": 0.7}, "F19.planted-neurons", "contradicted"),
        ({"planted_mlp_recall_untrained": 0.3}, "F19.planted-neurons", "inconclusive"),
        ({"planted_residual_recall": 0.4}, "F19.planted-codes", "contradicted"),
        ({"planted_residual_variance": 0.4}, "F19.planted-codes", "inconclusive"),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(change, claim, verdict):
    judged = {
        one.claim.id: one.verdict for one in STUDY.judge({n: around(m) for n, m in (GOOD | change).items()})
    }
    assert judged.pop(claim) == Verdict(verdict)
    assert set(judged.values()) == {Verdict.REPRODUCED}


def test_the_sports_are_all_that_is_taught():
    taught = table(replace(TINY.world, athletes=40), 3)
    assert {fact.relation for fact in taught} == {RELATION}
    assert len(taught) == 40
    whole = athletes(40, seed=3, others=0, parents=0, first_names=6, surnames=10)
    assert taught.facts == whole.select(relation=RELATION).facts


def test_widths_go_from_fewer_latents_than_athletes_to_more():
    for recipe in STUDY.recipes:
        config = STUDY.config(recipe)
        widths = (config.dictionaries.latents, *config.dictionaries.widths)
        assert min(widths) < config.world.athletes < max(widths)
        assert 2.0 in config.planted.latents_per_direction
