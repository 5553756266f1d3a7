"""Codes of words: orthonormal where there is room, else far apart."""

import numpy as np
import pytest

from oneway.compiler.codes import Alphabet, codes, likeness


def test_few_words_have_orthonormal_codes() -> None:
    assert np.array_equal(codes(5, 8), np.eye(5))
    assert likeness(codes(5, 8)) == 0


@pytest.mark.parametrize(("count", "width", "bound"), [(100, 48, 0.15), (400, 48, 0.25), (1500, 48, 0.4)])
def test_many_words_are_little_alike(count, width, bound) -> None:
    found = codes(count, width)
    gram = found @ found.T
    assert np.allclose(np.diag(gram), 1, atol=1e-5)
    np.fill_diagonal(gram, -1)
    assert likeness(found) == pytest.approx(gram.max(), abs=1e-6)
    assert gram.max() < bound


def test_a_table_has_zeros_for_tokens_without_a_code() -> None:
    alphabet = Alphabet.of(("b", "a"), 8, 0)
    assert np.array_equal(alphabet.table(("x", "a", "b")), [[0, 0], [0, 1], [1, 0]])
