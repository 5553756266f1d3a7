"""Linear relations and attribution by source token: on models whose answer is known by construction or by sums."""

import pytest
import torch

from oneway.anatomy.attribution import by_source
from oneway.anatomy.linear_relation import judge_relation, linear_relation
from oneway.anatomy.probes import answer_directions
from oneway.engine import Patch, Residual, Site


def test_a_compiled_relation_is_linear_from_the_layer_of_its_neurons_on(known):
    layer = known.neurons("fact")[0][0]
    relation = linear_relation(known.engine, known.asked, layer)
    found = judge_relation(known.engine, known.asked, relation)
    assert found.faithful.mean == found.right.mean == 1
    assert found.causal.follows.mean > 0.9
    before = judge_relation(known.engine, known.asked, linear_relation(known.engine, known.asked, layer - 1))
    assert before.right.mean < 0.7


def test_its_jacobian_says_what_a_small_step_does(known):
    layer = known.neurons("fact")[0][0]
    few = known.asked.only(range(8))
    relation = linear_relation(known.engine, known.asked.only(list(range(8)) * 2), layer, examples=8)
    assert len(relation.fitted_on) == 8
    at = Site("resid_post", layer, position=few.final)
    subject = known.engine.run(few.tokens, [at])[at]
    step = 0.01 * torch.randn(subject.shape[1], generator=torch.Generator().manual_seed(0))
    found = known.engine.effects(
        few.tokens, [Patch(at, subject + step)], Residual(after=known.engine.layers - 1)
    )
    assert torch.allclose(found.change[0].mean(0), relation.weight @ step, atol=2e-3, rtol=0.2)


def test_too_few_facts_to_judge_by(known):
    with pytest.raises(ValueError, match="too few"):
        linear_relation(known.engine, known.asked.only(range(10)), 1)


def test_the_parts_of_a_head_sum_to_what_it_says(known):
    found = by_source(known.engine, known.asked)
    (layer, head), engine = known.heads("relation")[0], known.engine
    out, end = (
        Site("head_out", layer, head, known.asked.last),
        Site("resid_post", engine.layers - 1, position=-1),
    )
    read = engine.run(known.asked.tokens, [out, end])
    directions = answer_directions(engine, known.asked)
    against = (directions - directions.mean(1, keepdim=True)) * 3 / 2
    resid = read[end] - read[end].mean(-1, keepdim=True)
    scale = (resid.square().mean(-1) + engine.form.epsilon).rsqrt()
    said = (read[out] * against.T[known.asked.right]).sum(-1) * scale
    torch.testing.assert_close(found.values[layer, head].sum(0), said, rtol=1e-4, atol=1e-3)
    table = found.table()
    top = table.sort("effect", descending=True).row(0, named=True)
    assert top["part"] == "the name's last token"
    assert top["effect"] > 0.99 * table["effect"].abs().sum()
