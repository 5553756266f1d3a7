"""The loss of any text, against the plain model one text at a time."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.models.checkpoint import Loading, load_checkpoint
from oneway.models.tokens import word_tokenizer
from oneway.recall import text_loss as module
from oneway.recall.text_loss import text_loss

WORDS = [f"w{at}" for at in range(40)]


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    tokenizer = word_tokenizer([" ".join(WORDS)])
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=16)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    return load_checkpoint((GPT2LMHeadModel(config), tokenizer), Loading(device="cpu"))


def texts(*lengths):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=length)) for length in lengths]


def test_it_is_that_of_the_plain_model_text_by_text(checkpoint, monkeypatch):
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 24)
    found = text_loss(checkpoint, some := texts(3, 9, 2, 14, 5))
    for text, nats, tokens in zip(some, found.nats, found.tokens, strict=True):
        ids = checkpoint.tokenizer(text, return_tensors="pt")["input_ids"]
        plain = checkpoint.model(ids, labels=ids).loss.item()
        assert tokens == ids.shape[1] - 1
        assert nats / tokens == pytest.approx(plain, abs=1e-5)
    assert found.mean == pytest.approx(found.nats.sum() / found.tokens.sum())


def test_a_long_text_is_read_in_pieces_of_the_models_positions(checkpoint):
    (text,) = texts(40)
    found = text_loss(checkpoint, [text])
    ids = checkpoint.tokenizer(text)["input_ids"]
    pieces = [ids[at : at + 16] for at in range(0, len(ids) - 1, 15)]
    plain = 0.0
    for piece in pieces:
        tokens = torch.tensor([piece])
        plain += checkpoint.model(tokens, labels=tokens).loss.item() * (len(piece) - 1)
    assert found.tokens.tolist() == [len(ids) - 1]
    assert found.nats[0] == pytest.approx(plain, rel=1e-5)


def test_nothing_to_read_is_refused(checkpoint):
    with pytest.raises(ValueError, match="there is no text"):
        text_loss(checkpoint, [])
    short = "" if len(checkpoint.tokenizer("")["input_ids"]) < 2 else None
    with pytest.raises(ValueError, match="two tokens"):
        text_loss(checkpoint, [short])
