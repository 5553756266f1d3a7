"""Batches by epoch and the answers' probabilities, against a plain forward."""

import numpy as np
import torch

from oneway.facts.worlds import arrows
from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.studies.sentence_training import Epochs, answers


def test_an_epoch_shows_every_training_sentence_once_and_no_validation_sentence() -> None:
    worlds = [arrows(40, seed=seed) for seed in (4, 5)]
    epochs = Epochs(np.stack([world.train for world in worlds]), (4, 5), batch=8, read=1)
    for epoch in range(2):
        batches = [epochs(epoch * epochs.steps + step) for step in range(epochs.steps)]
        for seed, world in enumerate(worlds):
            shown = np.concatenate(
                [torch.cat((b.tokens[seed], b.targets[seed, :, None]), 1).numpy() for b in batches]
            )
            assert sorted(map(tuple, shown)) == sorted(map(tuple, world.train))
            assert not set(map(tuple, shown)) & set(map(tuple, world.validation))


def test_the_answers_are_those_of_a_plain_forward() -> None:
    a = gpt2(vocab=12, context=4, layers=2, width=16, heads=2)
    weights = {n: w * 6 for n, w in initial_weights(a, (4, 5)).items()}
    sentences = torch.from_numpy(np.random.default_rng(0).integers(12, size=(2, 7, 5)))
    whole, every = answers(weights, a, sentences, read=2)
    plain = logits(weights, sentences[:, :, :-1], a).log_softmax(-1)[:, :, -2:]
    assert torch.allclose(every, plain, atol=1e-5)
    first, second = (plain[:, :, i].gather(-1, sentences[:, :, 3 + i, None])[..., 0] for i in range(2))
    assert torch.allclose(whole, first + second, atol=1e-5)
