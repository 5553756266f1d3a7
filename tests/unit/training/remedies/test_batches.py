"""Rows and batches by hand, losses against plain formulas, and what symmetry means for a head."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oneway.models.architecture import Architecture
from oneway.models.export import to_hugging_face
from oneway.models.transformer import initial_weights, logits
from oneway.training.fit import next_token_loss
from oneway.training.remedies.lesson import NO_NAME, OBJECT, SUBJECT, Lesson
from oneway.training.remedies.objectives import (
    asymmetry,
    batches,
    loss_of,
    name_loss,
    names_asked,
    states_at,
    with_symmetry,
)
from oneway.training.remedies.rows import MASKED, PAD, Dealt, Words, masked_words, next_words, rows

TINY = Architecture(vocab=9, context=6, layers=1, width=8, heads=2, mlp=16, unembedding="untied")
WORDS = Words(["a", "b", "c", "→", "x", "y"], "<mask>")
SHORT = Lesson(("x", "→", "a"), (SUBJECT, NO_NAME, OBJECT), (False, False, True), 0, 2.0)
LONG = Lesson(("y", "→", "b", "c"), (SUBJECT, NO_NAME, OBJECT, OBJECT), (False, False, True, True), 1)
ROWS = rows([[SHORT, LONG]], [WORDS])


def test_rows_are_padded_and_targets_weighted() -> None:
    assert ROWS.tokens[0, 0].tolist() == [*WORDS(["x", "→", "a"]), PAD]
    assert ROWS.weights[0].tolist() == [[0, 0, 2, 0], [0, 0, 1, 1]]


def test_seeds_need_equally_many_lessons() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        rows([[SHORT], [SHORT, LONG]], [WORDS, WORDS])


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_every_row_is_dealt_once_an_epoch(batch: int) -> None:
    many = rows([[replace(SHORT, weight=float(1 + i)) for i in range(7)]] * 2, [WORDS] * 2)
    dealt = Dealt(many, (3, 4), batch)
    seen = torch.cat([dealt(step)[1].amax(-1) for step in range(7 * batch)], 1)
    for seed in range(2):
        for epoch in range(batch):
            assert sorted(seen[seed, 7 * epoch : 7 * epoch + 7].tolist()) == list(range(1, 8))
    assert not torch.equal(seen[0], seen[1])


def test_the_loss_is_the_weighted_mean_over_targets() -> None:
    weights = initial_weights(replace(TINY, init_std=0.5), (1,))
    tokens, counts = (torch.from_numpy(part) for part in ROWS)
    nll = torch.nn.functional.cross_entropy(
        logits(weights, tokens, TINY)[0, :, :-1].flatten(0, 1), tokens[0, :, 1:].flatten(), reduction="none"
    )
    w = counts[0, :, 1:].flatten()
    found = next_token_loss(weights, TINY, next_words(tokens, counts))
    assert torch.allclose(found, (nll * w).sum()[None] / w.sum(), atol=1e-5)


def test_masks_hide_words_only_and_at_least_one_in_a_row() -> None:
    tokens, counts = (torch.from_numpy(part).expand(1, 2, -1) for part in (ROWS.tokens[0], ROWS.weights[0]))
    rng, hidden_words = np.random.default_rng(0), 0
    for _ in range(200):
        batch, rate = masked_words(tokens, counts, rng)
        hidden = batch.tokens == MASKED
        assert hidden.any(-1).all()
        assert not (hidden & (tokens == PAD)).any()
        assert torch.equal(batch.weights.view(1, 2, 4), hidden * torch.tensor([2.0, 1.0])[:, None])
        assert torch.equal(batch.tokens[~hidden], tokens[~hidden])
        assert ((rate >= 0) & (rate < 1)).all()
        hidden_words += int(hidden.sum())
    assert (
        0.45 < hidden_words / (200 * 7) < 0.65
    )  # the mean of U(0, 1), and a little for rows that would hide none


def test_full_attention_sees_what_comes_after_and_causal_does_not() -> None:
    weights = initial_weights(replace(TINY, init_std=0.5), (1,))
    one, other = torch.tensor([[[2, 3, 4]]]), torch.tensor([[[2, 3, 5]]])
    full = replace(TINY, attention="full")
    assert torch.equal(logits(weights, one, TINY)[..., 0, :], logits(weights, other, TINY)[..., 0, :])
    assert not torch.allclose(logits(weights, one, full)[..., 0, :], logits(weights, other, full)[..., 0, :])
    with pytest.raises(ValueError, match="full attention"):
        to_hugging_face(weights, full)


def test_full_attention_is_the_plain_softmax_over_all_keys() -> None:
    a = replace(TINY, attention="full", heads=1, init_std=0.5)
    w = initial_weights(a, (1,))
    tokens = torch.tensor([[[2, 3, 4, 5, 6]]])  # more keys than are computed one by one
    x = w["W_E"][0][tokens[0, 0]] + w["W_pos"][0][:5]
    normed = torch.nn.functional.layer_norm(x, (8,))
    q, k, v = (normed @ w["blocks.0.W_QKV"][0]).chunk(3, -1)
    x = x + (q @ k.T / 8**0.5).softmax(-1) @ v @ w["blocks.0.W_O"][0]
    hidden = torch.nn.functional.gelu(
        torch.nn.functional.layer_norm(x, (8,)) @ w["blocks.0.W_in"][0], approximate="tanh"
    )
    x = x + hidden @ w["blocks.0.W_out"][0]
    expected = torch.nn.functional.layer_norm(x, (8,)) @ w["W_U"][0]
    assert torch.allclose(logits(w, tokens, a)[0, 0], expected, atol=1e-5)


def test_diffusion_counts_a_row_by_the_inverse_of_its_rate() -> None:
    dealt = Dealt(ROWS, (0,), 2)
    uniform, diffusion = (batches(kind, dealt, 0)(5) for kind in ("uniform masks", "diffusion"))
    _, rate = masked_words(*dealt(5), np.random.default_rng((0, 7, 5)))
    by_row = (1 / rate.clamp_min(0.05)).repeat_interleave(4, 1)
    assert torch.allclose(diffusion.weights, uniform.weights * by_row)


def test_the_last_name_of_a_row_is_asked_before_its_first_word() -> None:
    asked = names_asked(torch.from_numpy(ROWS.tokens), torch.from_numpy(ROWS.weights))
    assert asked.ends.tolist() == [[1, 1]]
    assert asked.names.tolist() == [[[WORDS.ids["a"], PAD], WORDS(["b", "c"])]]
    assert asked.last.tolist() == [[0, 1]]


def test_the_loss_of_names_is_a_softmax_over_the_names_of_the_batch() -> None:
    weights = initial_weights(replace(TINY, init_std=0.5), (1,))
    asked = names_asked(torch.from_numpy(ROWS.tokens), torch.from_numpy(ROWS.weights))
    states = states_at(weights, TINY, asked.tokens, asked.ends)[0]
    names = states_at(weights, TINY, asked.names, asked.last)[0]
    nll = -(states @ names.T).log_softmax(-1).diagonal()
    assert torch.allclose(name_loss(weights, TINY, asked), ((2 * nll[0] + nll[1]) / 3)[None], atol=1e-5)


def test_a_shared_factor_makes_every_heads_table_symmetric() -> None:
    weights = initial_weights(TINY, (1, 2))
    assert (asymmetry(weights, TINY) > 0.1).all()
    tied = with_symmetry(weights, TINY, "shared factor")
    assert torch.allclose(asymmetry(tied, TINY), torch.zeros(2), atol=1e-10)
    table = weights["W_E"] @ tied["blocks.0.W_QKV"][..., 16:] @ tied["blocks.0.W_O"] @ weights["W_E"].mT
    assert torch.allclose(table, table.mT, atol=1e-6)


def test_the_penalty_is_added_to_the_loss() -> None:
    weights = initial_weights(TINY, (1,))
    batch = next_words(*(torch.from_numpy(part) for part in ROWS))
    plain, penalised = (loss_of("next word", kind, 0.5)(weights, TINY, batch) for kind in ("none", "penalty"))
    assert torch.allclose(penalised - plain, 0.5 * asymmetry(weights, TINY))
