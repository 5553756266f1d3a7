"""On a compiled model every function finds what was written into the weights, and nothing else."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.anatomy.asked import known as known_facts
from oneway.anatomy.extraction import direct, looking, reading
from oneway.anatomy.hashing import auc, aucs, broken_linearity, names_of, norms, orthogonal_remainder
from oneway.anatomy.intervals import interval_table, other_answers, rank_correlation
from oneway.anatomy.lookup import attention_removed, paths_between_mlps, traps
from oneway.anatomy.neurons import attribute_neurons, excess, neuron_changes, nonlinear_excess, shared_neurons
from oneway.anatomy.probes import best_head, chance, mechanistic_probe, subspace_patching, trained_probe
from oneway.anatomy.remaining import Reader, Remaining
from oneway.anatomy.simplification import CONTEXT, simplify


@pytest.fixture(scope="module")
def remaining(known) -> Remaining:
    return Remaining(known.engine, known.asked, known.heads("relation")[0])


def shares(table: pl.DataFrame, measure: str) -> dict[str, float]:
    rows = table.filter(pl.col("measure") == measure)
    return dict(zip(rows["intervention"], rows["mean"], strict=True))


def test_every_fact_is_known(known):
    assert known_facts(known.engine, known.asked).all()


def test_the_head_that_says_the_answer_is_the_relations(known):
    found = direct(known.engine, known.asked)
    (planted,) = known.heads("relation")
    assert found.direct.top_heads(1) == [planted]
    assert found.direct.share_of_top_head == pytest.approx(1, abs=1e-5)
    assert found.agreement > 0.99
    others = found.direct.heads.mean(-1).flatten().sort().values[:-1]
    assert float(others.abs().max()) < 1e-4
    # log-odds of the right answer against the other: both, planted alike, are swapped
    assert float(found.direct.heads[planted].min()) == pytest.approx(
        2 * float(found.direct.clean.mean()), rel=1e-2
    )


def test_it_looks_at_the_end_of_the_name_and_reads_the_neurons_there(known):
    (planted,) = known.heads("relation")
    assert float(looking(known.engine, known.asked, [planted]).of_name.min()) > 0.999
    read = reading(known.engine, known.asked, planted)
    (layer,) = {layer for layer, _ in known.neurons("fact")}
    top = read.table().row(0, named=True)
    assert (top["layer"], top["head"]) == (layer, None)
    assert float(read.mlps[[i for i in range(known.engine.layers) if i != layer]].abs().max()) < 1e-4
    assert float(read.heads.abs().max()) < 1e-4


def test_its_weights_read_the_answer_and_swapping_what_they_read_swaps_the_answer(known):
    (planted,) = known.heads("relation")
    assert mechanistic_probe(known.engine, known.asked, planted).accuracy.mean == 1
    found = best_head(known.engine, known.asked)
    assert (found.head, found.held_out.mean) == (planted, 1)
    swapped = subspace_patching(known.engine, known.asked, planted)
    assert swapped["probe"].follows.mean == swapped["all"].follows.mean == 1
    assert swapped["random"].keeps.mean == swapped["all but probe"].keeps.mean == 1


def test_attention_on_the_name_is_needed_in_the_layer_of_the_previous_name_head(remaining: Remaining, known):
    (planted,) = known.heads("previous-name")
    found = shares(attention_removed(remaining), "among_answers")
    for layer in range(known.engine.layers + 1):
        assert found[str(layer)] == pytest.approx(
            chance(known.asked.right) if layer <= planted[0] else 1, abs=0.01
        )


def test_the_lookup_is_on_the_name(remaining: Remaining, known):
    found = shares(traps(remaining), "among_answers")
    (planted,) = known.heads("relation")
    assert found["nothing"] == found["MLPs at the last position"] == 1
    assert found["patterns of layer 0 on the name frozen"] == 1
    assert found["MLPs on the name"] < 0.5
    assert found[f"name hidden below layer {planted[0]}"] == 1
    assert found[f"name hidden below layer {planted[0] + 1}"] < 0.5


def test_no_path_between_mlps_matters(remaining: Remaining, known):
    found = shares(paths_between_mlps(remaining, range(known.engine.layers)), "of_vocabulary")
    (layer,) = {layer for layer, _ in known.neurons("fact")}
    for name, share in found.items():
        if "→" in name:
            assert share == 1, name
    assert found[f"{layer} alone"] < 0.5


def test_the_effective_model_keeps_what_was_planted(remaining: Remaining, known):
    told: list[str] = []
    found = simplify(remaining.reader, told=lambda step, accuracy: told.append(step))
    heads, neurons = known.heads("previous-name"), known.neurons("fact")
    assert set(found.kept) == {f"attention of layer {heads[0][0]}", f"MLP of layer {neurons[0][0]}"}
    assert told == found.steps["step"].to_list()
    assert told[:2] == ["nothing", CONTEXT]
    assert found.steps["held_out"].to_list() == [1.0] * len(told)
    # The patches are the model: put again, they leave the same.
    probe, _ = remaining.reader(found.tokens, found.tokens.shape[1] - 1, [found.patches])
    assert probe.mean() == 1


def test_each_neuron_serves_its_own_fact(known):
    planted = known.neurons("fact")
    (layer,) = {layer for layer, _ in planted}
    changes = neuron_changes(known.engine, known.asked.only(range(12)), [layer])
    hit = (changes < -0.5).nonzero()
    for neuron, fact in hit.tolist():
        entry = next(n for n in known.circuit["neurons"] if (n["layer"], n["neuron"]) == (layer, neuron))
        served = [known.circuit["facts"][i] for i in entry["facts"]]
        assert known.asked.facts[fact].subject in str(served)
    assert len(set(hit[:, 0].tolist())) == len(hit) > 0


def test_the_and_is_made_by_the_neurons_that_write_it(known):
    (planted,) = known.heads("relation")
    found = nonlinear_excess(known.engine, known.asked, names_of(known.asked), planted)
    assert (found.made_by_neurons > 0).all()
    assert found.median().low > 0.9  # single-step detokenization predicts 1


def test_no_neuron_tells_an_answer(known):
    (planted,) = known.heads("relation")
    for found in attribute_neurons(known.engine, known.asked, planted):
        assert found.auc.mean < 0.6


def test_a_head_of_the_first_layer_is_refused(known):
    with pytest.raises(ValueError, match="layer 0"):
        Reader(known.engine, known.asked, (0, 0))


def test_linearity_and_norms_have_a_row_a_layer(known):
    names = names_of(known.asked)
    assert int(names.known.sum()) == len(known.asked)
    table = broken_linearity(known.engine, names, pairs=30, shuffles=1)
    assert set(table["names"]) == {"known", "unknown", "known, weights shuffled 0"}
    last = table.filter((pl.col("of") == "mlp_out") & (pl.col("layer") == known.neurons("fact")[0][0]))
    # A neuron a fact is the extreme of hashing: known names share nothing with their swapped parts.
    assert last.filter(pl.col("names") == "known")["broken"].item() > 0.9
    ratio = (
        norms(known.engine, names)
        .table()
        .filter(pl.col("layer") == known.neurons("fact")[0][0])["ratio"]
        .item()
    )
    assert ratio > 2


def test_excess_by_hand():
    first, last = torch.rand(5, 1), torch.rand(1, 7)
    assert float(excess((first + last)[..., None]).abs().max()) < 1e-6
    both = torch.zeros(5, 7, 1)
    both[2, 3] = 1  # AND
    assert float(excess(both)[2, 3]) == pytest.approx(1)
    either = torch.zeros(5, 7, 1)
    either[2], either[:, 3] = 1, 1  # OR
    assert float(excess(either)[2, 3]) == pytest.approx(-1)


def test_streamed_excess_is_that_of_the_whole_product():
    from oneway.anatomy.neurons import _ExcessOf

    values = torch.randn(5, 7, 3)
    known = torch.rand(5, 7) < 0.4
    streamed = _ExcessOf(known.shape)
    for rows in (slice(0, 2), slice(2, 5)):
        streamed.add(rows, values[rows], known.nonzero())
    torch.testing.assert_close(streamed.of_known(), excess(values)[known])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(0, 1000))
def test_auc_is_the_share_of_pairs(count: int, seed: int):
    rng = np.random.default_rng(seed)
    scores, has = (
        torch.from_numpy(rng.integers(0, 5, size=count).astype(float)),
        torch.zeros(count, dtype=bool),
    )
    has[: 1 + count // 3] = True
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[has].tolist() for b in scores[~has].tolist()]
    assert auc(scores, has) == pytest.approx(float(np.mean(pairs)))
    assert aucs(scores[:, None], has)[0] == pytest.approx(float(np.mean(pairs)))


def test_the_orthogonal_remainder_misleads():
    """Names that share a direction and are noise beside it: the test sees something, and so does the null."""
    rng = torch.Generator().manual_seed(0)
    has = torch.arange(60) < 20
    shared = torch.randn(200, generator=rng)
    resid = torch.randn(60, 200, generator=rng) + has[:, None] * shared * 0.5
    found = orthogonal_remainder(resid, shared, has)
    assert found.measured > 0.6
    assert found.null.low - 0.1 < found.measured < found.null.high + 0.1
    assert np.isnan(orthogonal_remainder(resid[:, :20], shared[:20], has).measured)


def test_shared_neurons_tell_the_same_fact_from_another():
    rng = np.random.default_rng(0)
    one = {f"e{i}": rng.normal(size=200) for i in range(10)}
    again = {name: values + 0.1 * rng.normal(size=200) for name, values in one.items()}
    other = {name: rng.normal(size=200) for name in one}
    found = shared_neurons({"a": one, "b": other}, {"a": again})
    assert found.mean("same fact").low > 0.95
    assert abs(found.mean("other fact").mean) < 0.1
    assert abs(found.mean("other entity").mean) < 0.1


def test_a_trained_probe_is_judged_on_facts_it_has_not_seen():
    rng = torch.Generator().manual_seed(0)
    right = torch.arange(90) % 3
    noise = torch.randn(90, 60, generator=rng)
    assert trained_probe(noise, right, splits=5).mean < 0.6
    assert (
        trained_probe(noise + 5 * torch.eye(3)[right] @ torch.randn(3, 60, generator=rng), right).mean > 0.95
    )


def test_tables_and_partners():
    table = interval_table(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), ("layer",), "effect")
    assert table["effect"].to_list() == [2, 0]
    assert table["high"].item(0) == pytest.approx(2 + 4.302653 / np.sqrt(3), rel=1e-5)
    right = torch.tensor([0, 1, 2, 0, 1])
    partner = other_answers(right)
    assert (right[partner] != right).all()
    with pytest.raises(ValueError, match="same answer"):
        other_answers(torch.zeros(3, dtype=torch.long))
    assert rank_correlation(torch.arange(4), torch.arange(4) ** 3) == pytest.approx(1)
