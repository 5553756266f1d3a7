import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.facts.chains import LEADS_TO, STEP, chains


def test_the_published_sizes() -> None:
    world = chains(800, seed=0)
    assert (len(world.train), len(world.validation), world.vocabulary_size) == (540, 60, 802)


@given(st.integers(8, 200), st.integers(0, 5), st.floats(0, 1))
def test_what_is_trained_and_what_is_held_out(vocabulary: int, seed: int, whole: float) -> None:
    world = chains(vocabulary, seed=seed, whole=whole)
    stated = {tuple(sentence) for sentence in world.train.tolist()}
    held_out = {tuple(sentence) for sentence in world.validation.tolist()}
    assert len(stated) == len(world.train)
    assert not stated & held_out
    assert len(np.unique(world.triples)) == world.triples.size
    for number, (x, y, z) in enumerate(world.triples.tolist()):
        assert {(x, STEP, y), (y, STEP, z)} <= stated
        assert ((x, LEADS_TO, z) in stated) == (number < world.whole)
        assert ((x, LEADS_TO, z) in held_out) == (number >= world.whole)
    assert len(stated) + len(held_out) == 3 * len(world.triples)
    for sentence, triple, concluded in zip(world.train, world.train_triple, world.concluded, strict=True):
        assert {sentence[0], sentence[2]} <= set(world.triples[triple])
        assert concluded == (sentence[1] == LEADS_TO)
    assert world.train.max() < world.vocabulary_size
    assert world.held_out.tolist() == world.triples[world.whole :].tolist()


def test_seeds_differ_and_repeat() -> None:
    assert np.array_equal(chains(80, seed=1).train, chains(80, seed=1).train)
    assert not np.array_equal(chains(80, seed=1).train, chains(80, seed=2).train)


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        chains(7, seed=0)


def test_a_conclusion_ends_on_the_alphabet_of_z() -> None:
    world = chains(40, seed=0)
    assert sorted(world.triples[:, 2]) == list(range(world.candidates.start, world.candidates.stop))
