import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.facts.chains import LEADS_TO, STEP, chains
from oneway.facts.related_chains import related_chains


@given(st.integers(20, 200), st.integers(0, 5), st.sampled_from(["shared", "shuffled"]))
def test_what_is_trained_and_what_is_held_out(vocabulary: int, seed: int, indices: str) -> None:
    world = related_chains(vocabulary, seed=seed, indices=indices)  # type: ignore[arg-type]
    stated = {tuple(sentence) for sentence in world.train.tolist()}
    held_out = {tuple(sentence) for sentence in world.validation.tolist()}
    assert len(stated) == len(world.train)
    assert not stated & held_out
    for number, ((a, i), (b, j), (c, k)) in enumerate(world.triples.tolist()):
        assert (a, b, c) == (2, 3, 4)
        assert {(a, i, STEP, b, j), (b, j, STEP, c, k)} <= stated
        conclusion = (a, i, LEADS_TO, c, k)
        assert (conclusion in stated, conclusion in held_out) == (number < world.whole, number >= world.whole)
    assert len(stated) + len(held_out) == 3 * len(world.triples)
    for column in world.triples[:, :, 1].T:
        assert sorted(column) == list(range(world.candidates.start, world.candidates.stop))
    for sentence, triple, concluded in zip(world.train, world.train_triple, world.concluded, strict=True):
        assert {int(sentence[1]), int(sentence[4])} <= set(world.triples[triple, :, 1].tolist())
        assert concluded == (sentence[2] == LEADS_TO)
    assert world.train.max() < world.vocabulary_size


def test_indices_are_one_or_three_and_the_sizes_are_those_of_plain_chains() -> None:
    shared, shuffled = (related_chains(200, seed=3, indices=i) for i in ("shared", "shuffled"))
    plain = chains(200, seed=3)
    assert (shared.triples[:, :, 1] == shared.triples[:, :1, 1]).all()
    same = (shuffled.triples[:, :, 1] == shuffled.triples[:, :1, 1]).mean(0)
    assert same[0] == 1
    assert max(same[1:]) < 0.2
    for world in (shared, shuffled):
        assert (len(world.train), len(world.validation)) == (len(plain.train), len(plain.validation))
        assert world.vocabulary_size == plain.vocabulary_size
    assert not np.array_equal(shared.train, related_chains(200, seed=4).train)


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        related_chains(19, seed=0)
