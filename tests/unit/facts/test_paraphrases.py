"""The world of paraphrases, counted by hand."""

import numpy as np
import pytest

from oneway.facts.paraphrases import FILLERS, FORWARD, PARAPHRASE, REVERSE, paraphrases, told


def test_every_trained_pair_is_told_in_every_form_and_no_held_out_token_occurs() -> None:
    world = paraphrases(9, seed=1)
    assert (world.trained, len(world.held_out), world.vocabulary_size) == (6, 3, 5 + 18)
    wanted = {
        (filler, *sentence)
        for x, y in world.pairs[:6].tolist()
        for filler in FILLERS
        for sentence in ((x, FORWARD, y), (x, PARAPHRASE, y), (y, REVERSE, x))
    }
    assert {tuple(sentence) for sentence in world.train.tolist()} == wanted
    assert len(world.train) == len(wanted) == 36
    assert not set(world.held_out.ravel().tolist()) & set(world.train.ravel().tolist())
    assert sorted(world.pairs.ravel().tolist()) == list(range(5, 23))


def test_a_world_is_a_function_of_its_seed() -> None:
    assert np.array_equal(paraphrases(9, seed=1).train, paraphrases(9, seed=1).train)
    assert not np.array_equal(paraphrases(9, seed=1).train, paraphrases(9, seed=2).train)


def test_a_sentence_says_who_is_asked_for() -> None:
    pair = np.array([[7, 20]])
    assert told(pair, FORWARD).tolist() == [[3, 7, FORWARD, 20]]
    assert told(pair, REVERSE, FILLERS[1]).tolist() == [[4, 20, REVERSE, 7]]


@pytest.mark.parametrize(("pairs", "trained"), [(3, 0.9), (3, 0.0), (1, 1.0)])
def test_a_world_without_both_kinds_of_pairs_is_refused(pairs: int, trained: float) -> None:
    with pytest.raises(ValueError, match="would be trained"):
        paraphrases(pairs, seed=0, trained=trained)
