"""The picture of a compiled model is its planted circuit: these nodes, these arrows, this neuron for this fact."""

import numpy as np
import polars as pl
import pytest
import torch

from oneway.anatomy.circuit_picture import on_name, places, strongest
from oneway.anatomy.extraction import direct
from oneway.anatomy.fact_paths import activations, held_out_probe, neuron_parts
from oneway.anatomy.neurons import neuron_changes
from oneway.anatomy.picture import picture
from oneway.report import Picture


@pytest.fixture(scope="module")
def drawn(known) -> Picture:
    return picture(known.engine, known.asked, known.heads("relation"))


def test_the_planted_components_are_drawn_and_no_other(drawn: Picture, known):
    nodes = drawn.circuit.nodes
    (carrier,), (extractor,) = known.heads("previous-name"), known.heads("relation")
    (layer,) = {layer for layer, _ in known.neurons("fact")}
    parts = set(nodes.select("place", "layer", "head").iter_rows())
    assert parts == {("name 2", *carrier), ("name 2", layer, None), ("last", *extractor)}
    assert nodes["low"].min() > 0
    assert drawn.circuit.places[-1] == "last"
    assert drawn.circuit.layers == known.engine.layers


def test_the_planted_way_is_drawn_from_the_name_to_the_answer(drawn: Picture, known):
    (carrier,), (extractor,) = known.heads("previous-name"), known.heads("relation")
    (layer,) = {layer for layer, _ in known.neurons("fact")}
    carries, looks_up, says = (
        f"head {carrier[0]}.{carrier[1]} at {known.asked.final}",
        f"MLP {layer} at {known.asked.final}",
        f"head {extractor[0]}.{extractor[1]} at {known.asked.last}",
    )
    arrows = drawn.circuit.arrows
    ways = set(arrows.select("source", "target").iter_rows())
    assert ways == {
        ("name 1", carries), (carries, looks_up), ("name 2", looks_up), (looks_up, says), (says, "answer")
    }  # fmt: skip
    # All that the head moves from the name is what the neurons wrote: one path, one effect.
    effect = dict(zip(zip(arrows["source"], arrows["target"], strict=True), arrows["effect"], strict=True))
    node = dict(zip(drawn.circuit.nodes["id"], drawn.circuit.nodes["effect"], strict=True))
    assert effect[looks_up, says] == pytest.approx(node[looks_up], rel=1e-3)
    assert effect["name 1", carries] == pytest.approx(node[carries], rel=1e-3)


def test_each_facts_strongest_neurons_are_those_that_its_answer_falls_without(drawn: Picture, known):
    (head,) = known.heads("relation")
    changes = neuron_changes(known.engine, known.asked, range(head[0]))
    neurons, width = drawn.paths.neurons, known.engine.form.d_mlp
    first = neurons.group_by("fact", maintain_order=True).first()
    assert (first["layer"] * width + first["neuron"]).to_list() == changes.argmin(0).tolist()
    assert first["effect"].min() > 0


def test_a_neurons_parts_sum_to_what_the_head_reads(known):
    """Linear in the activations at a fixed scale: all parts together are the change of the probe by all MLPs below."""
    (head,) = known.heads("relation")
    acting = activations(known.engine, known.asked, head)
    parts = neuron_parts(known.engine, known.asked, head, acting)
    doubled = neuron_parts(known.engine, known.asked, head, 2 * acting)
    torch.testing.assert_close(doubled, 2 * parts)
    torch.testing.assert_close(
        neuron_parts(known.engine, known.asked, head, acting + 1), parts, atol=1e-4, rtol=1e-3
    )
    assert float(parts.sum(1).min()) > 0


def test_every_fact_is_read_right_from_where_it_was_written(drawn: Picture, known):
    (layer,) = {layer for layer, _ in known.neurons("fact")}
    paths = drawn.paths
    assert (paths.shown[:, 0] == known.asked.right.numpy()).all()
    assert (paths.weights[:, layer + 1].argmax(1) == 0).all()
    assert np.abs(paths.weights[:, layer]).max() < 1e-3 * np.abs(paths.weights[:, layer + 1]).min()
    assert paths.facts["answer"].equals(paths.facts["said"])
    assert paths.facts.height == len(known.asked) == len(paths.effects) == len(paths.attention)
    np.testing.assert_allclose(paths.attention.sum(2), 1, atol=1e-5)
    np.testing.assert_allclose(paths.effects.mean(0), drawn.circuit.nodes["effect"].to_numpy(), rtol=1e-4)


def test_units_say_what_they_fire_on_and_write(drawn: Picture, known):
    (head,) = known.heads("relation")
    row = drawn.units.filter(pl.col("kind") == "head", pl.col("index") == head[1], pl.col("layer") == head[0])
    assert row["writes_answers"][0] == "the right answer most, for 100% of facts"
    neurons = drawn.units.filter(pl.col("kind") == "neuron")
    planted = set(known.neurons("fact"))
    assert set(neurons.select("layer", "index").iter_rows()) <= planted
    answer = {fact.subject: fact.object for fact in known.asked.facts}
    for fires_on, writes in neurons.select("fires_on", "writes_answers").iter_rows():
        assert writes.startswith(answer[fires_on.split(", ")[0]])


def test_what_was_computed_before_is_taken(drawn: Picture, known):
    engine, asked, heads = known.engine, known.asked, known.heads("relation")
    changes = neuron_changes(engine, asked, range(heads[0][0]))
    again = picture(
        engine, asked, heads, said=direct(engine, asked), named=on_name(engine, asked), changes=changes
    )
    assert again.circuit.nodes.equals(drawn.circuit.nodes)
    assert again.circuit.arrows.equals(drawn.circuit.arrows)
    assert again.paths.neurons["effect"].max() == pytest.approx(-float(changes.min()))
    with pytest.raises(ValueError, match=r"neurons \(those below layer"):
        picture(engine, asked, heads, changes=changes[1:])


@pytest.mark.parametrize(
    ("heads", "said"), [((), "at least one"), (((0, 1),), "is in layer 0")], ids=["none", "layer 0"]
)
def test_heads_that_cannot_be_drawn_are_refused(known, heads, said):
    with pytest.raises(ValueError, match=said):
        picture(known.engine, known.asked, heads)


def test_the_rule_of_what_is_drawn():
    assert strongest(np.array([5.0, -3.0, 4.0, 0.5, 0.5])) == [0, 2]  # 9 of 10
    assert strongest(np.array([-1.0, 0.0])) == []
    assert strongest(np.ones(50)) == list(range(12))
    assert strongest(np.array([])) == []


def test_places_cover_the_prompt_once(known):
    groups = places(known.asked)
    assert [at for keys in groups.values() for at in keys] == list(range(known.asked.tokens.shape[1]))


def test_a_probe_never_judges_what_it_was_trained_on():
    generator = torch.Generator().manual_seed(0)
    features, right = torch.randn(60, 80, generator=generator), torch.arange(60) % 3
    told = held_out_probe(features, right, 3)
    torch.testing.assert_close(told.sum(1), torch.ones(60))
    assert float((told.argmax(1) == right).float().mean()) < 0.6  # noise: in sample it would be 1
