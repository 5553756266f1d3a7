"""Every sentence once an epoch, in an order of the seed's own, with the loss where it should be."""

from collections import Counter

import pytest
import torch

from oneway.facts import identities, identity_texts, training_sentences
from oneway.models.tokens import word_tokenizer
from oneway.training.recitation import Recitation

TOKENIZER = word_tokenizer(identity_texts())
WORLDS = [identities(2, seed=seed, phrasings=3) for seed in (7, 8)]
TABLES = [world.train for world in WORLDS]


def recited(loss: str, batch: int = 7) -> Recitation:
    return Recitation(TABLES, TOKENIZER, (7, 8), batch=batch, loss=loss)


def texts(tokens: torch.Tensor) -> list[str]:
    return [TOKENIZER.decode([t for t in row.tolist() if t]) for row in tokens]


def plain(table) -> list[str]:
    return [TOKENIZER.decode(TOKENIZER(s.text)["input_ids"][1:]) for s in training_sentences(table)]


def test_an_epoch_shows_every_sentence_of_every_seed_once() -> None:
    epochs = recited("document")
    assert epochs.steps == 4  # 24 sentences in batches of 7
    orders = []
    for epoch in range(2):
        batches = [epochs(epoch * epochs.steps + step) for step in range(epochs.steps)]
        for seed, table in enumerate(TABLES):
            shown = [text for batch in batches for text in texts(batch.tokens[seed])]
            assert Counter(shown) == Counter(plain(table))
            orders.append(tuple(shown))
    assert len(set(orders)) == 4


def test_a_batch_depends_on_its_step_alone() -> None:
    asked_in_order, asked_once = recited("answer"), recited("answer")
    for step in range(6):
        expected = asked_in_order(step)
    found = asked_once(5)
    assert expected.drop is None
    assert found.drop is None
    assert all(torch.equal(a, b) for a, b in zip(expected[:-1], found[:-1], strict=True))


@pytest.mark.parametrize("loss", ["document", "answer"])
def test_targets_are_the_tokens_after_their_positions(loss: str) -> None:
    epochs = recited(loss)
    sentences = {
        text: s for table in TABLES for text, s in zip(plain(table), training_sentences(table), strict=True)
    }
    for step in range(epochs.steps):
        batch = epochs(step)
        length = batch.tokens.shape[2]
        for seed in range(2):
            counts = batch.weights[seed] > 0
            at = batch.positions[seed][counts] + 1
            flat = batch.tokens[seed].flatten()
            assert torch.equal(flat[at], batch.targets[seed][counts])
            for row, text in enumerate(texts(batch.tokens[seed])):
                mine = at[(at >= row * length) & (at < (row + 1) * length)]
                said = TOKENIZER.decode(flat[mine].tolist())
                sentence = sentences[text]
                start, end = sentence.answer_span
                if loss == "document":
                    assert said == text
                else:
                    behind = TOKENIZER.decode(TOKENIZER(sentence.text[end:])["input_ids"][1:2])
                    assert said == f"{sentence.text[start:end].strip()} {behind}"


def test_tables_of_different_sizes_do_not_stack() -> None:
    tables = [TABLES[0], identities(3, seed=1, phrasings=3).train]
    with pytest.raises(ValueError, match="different numbers of sentences: \\[24, 36\\]"):
        Recitation(tables, TOKENIZER, (0, 1), batch=4, loss="answer")
