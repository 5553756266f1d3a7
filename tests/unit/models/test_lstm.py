"""The stacked LSTM against PyTorch's own, and the shapes that it refuses."""

import pytest
import torch

from oneway.models.lstm import LSTM, initial_lstm, lstm_states_at_end, lstm_unembed


@pytest.mark.parametrize("unembedding", ["tied", "untied"])
def test_every_seed_gives_what_pytorchs_lstm_gives(unembedding):
    a = LSTM(vocab=11, layers=2, width=6, unembedding=unembedding)
    weights = initial_lstm(a, (3, 4))
    tokens = torch.randint(11, (2, 5, 4), generator=torch.Generator().manual_seed(0))
    got = lstm_states_at_end(weights, tokens, a, 3)
    logits = lstm_unembed(weights, got.flatten(1, 2), a).view(2, 5, 3, 11)
    for seed in range(2):
        oracle = torch.nn.LSTM(6, 6, num_layers=2, batch_first=True)
        with torch.no_grad():
            for layer in range(2):
                w = {name: weights[f"blocks.{layer}.{name}"][seed] for name in ("W_x", "W_h", "b")}
                getattr(oracle, f"weight_ih_l{layer}").copy_(w["W_x"].T)
                getattr(oracle, f"weight_hh_l{layer}").copy_(w["W_h"].T)
                getattr(oracle, f"bias_ih_l{layer}").copy_(w["b"])
                getattr(oracle, f"bias_hh_l{layer}").zero_()
            states = oracle(weights["W_E"][seed][tokens[seed]])[0][:, 1:]
        unembedding_of = weights["W_E"][seed].T if unembedding == "tied" else weights["W_U"][seed]
        torch.testing.assert_close(got[seed], states)
        torch.testing.assert_close(logits[seed], states @ unembedding_of + weights["b_U"][seed])


def test_a_seeds_weights_do_not_depend_on_the_seeds_beside_it():
    a = LSTM(vocab=11, layers=1, width=6)
    together, alone = initial_lstm(a, (3, 4)), initial_lstm(a, (4,))
    for name, value in alone.items():
        assert torch.equal(together[name][1:], value)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="layers must be at least 1"):
        LSTM(vocab=5, layers=0, width=4)
    with pytest.raises(ValueError, match="frozen"):
        LSTM(vocab=5, layers=1, width=4, embeddings="frozen")
