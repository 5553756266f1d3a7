import numpy as np
import pytest

from oneway.facts.corners import SENTENCES, Corners


def test_sentences_by_hand():
    world = Corners(3)
    assert world.vocabulary_size == 9
    assert world.sentences("forward").tolist() == [[0, 6, 3], [1, 6, 4], [2, 6, 5]]
    assert world.sentences("bridge").tolist() == [[0, 6, 7, 0], [1, 6, 7, 1], [2, 6, 7, 2]]
    assert world.sentences("identity of b").tolist() == [[3, 8, 3], [4, 8, 4], [5, 8, 5]]


def test_only_the_reverse_puts_an_a_behind_a_b():
    world = Corners(4)
    for kind in SENTENCES:
        of = world.sentences(kind)
        says_reverse = ((of[:, :1] >= 4) & (of[:, :1] < 8) & (of[:, -1:] < 4)).any()
        assert says_reverse == (kind == "reverse")
    assert np.array_equal(world.sentences("reverse")[:, 0], world.sentences("forward")[:, -1])


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        Corners(1)
