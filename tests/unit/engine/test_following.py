"""What follows a text: from all scores at once, and some columns at a time."""

import numpy as np
import pytest
import torch

from oneway.engine import Engine
from oneway.engine.following import Scored
from oneway.engine.prepared import Prepared


def test_the_normaliser_is_exact_for_large_and_masked_scores():
    following = Scored(torch.tensor([[1000.0, 1000.0, -torch.inf], [0.0, np.log(3.0), -200.0]]))
    found, greedy = following.log_probabilities(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    expected = torch.tensor([-np.log(2.0), -np.log(2.0), -np.log(4.0), np.log(0.75)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert greedy.tolist() == [True, False, False, True], "of two that tie the first is greedy"


@pytest.mark.parametrize("tile", [7, 8192], ids=["many tiles", "one tile"])
def test_texts_read_on_give_what_whole_texts_give(model, engine, tokens, tile, monkeypatch):
    """In three steps, from a common beginning and with rows chosen anew, over every family."""
    monkeypatch.setattr("oneway.engine.prepared.TILE", tile)
    own = Engine(Prepared(engine.form, engine.weights))
    _, beginning = own.read_on(tokens[:1, :2])
    _, middle = own.read_on(tokens[:, 2:6], beginning.rows(torch.zeros(5, dtype=torch.int64)))
    rows = torch.tensor([4, 0, 0, 2])
    following, whole = own.read_on(tokens[:4, 6:], middle.rows(rows))
    texts = torch.cat((tokens[rows, :6], tokens[:4, 6:]), dim=1)
    with torch.inference_mode():
        expected = model(texts).logits[:, -1]
    assert whole.length == 9
    torch.testing.assert_close(following.logits(), expected, rtol=0, atol=1e-4)
    every = torch.arange(engine.vocab).repeat(4)
    asked = torch.arange(4).repeat_interleave(engine.vocab)
    found, greedy = following.log_probabilities(asked, every)
    torch.testing.assert_close(found.float().view(4, -1), expected.log_softmax(-1), rtol=0, atol=1e-4)
    assert every[greedy].tolist() == expected.argmax(-1).tolist()


def test_a_text_that_grows_too_long_is_refused(engine, tokens):
    _, prefix = engine.read_on(tokens.repeat(1, 7))
    with pytest.raises(ValueError, match="65 tokens do not fit in a context of 64"):
        engine.read_on(tokens[:, :2], prefix)
