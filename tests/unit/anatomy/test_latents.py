"""What latents stand for: by hand, against scikit-learn, and on latents that were made to stand for something."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oneway.anatomy.latents import Held, agreement, kinds_of_latents


def test_agreement_by_hand():
    latents = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    found = agreement(latents, np.array([0, 0, 1, 1]), 3)
    # Pairs of an example with the value and one without: 3>0, 3>1, 1>0, 1=1.
    assert found.auc[0].tolist() == [3.5 / 4, 0.5 / 4, 0.5]
    assert found.purity[0].tolist() == [4 / 5, 1 / 5, 0.0]
    assert found.auc[1].tolist() == [0.5, 0.5, 0.5]  # never fires
    assert found.purity[1].tolist() == [0.0, 0.0, 0.0]


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    latents, value = rng.integers(0, 4, (60, 5)).astype(float), rng.integers(0, 3, 60)
    found = agreement(latents, value, 3)
    for latent in range(5):
        for one in range(3):
            assert found.auc[latent, one] == pytest.approx(roc_auc_score(value == one, latents[:, latent]))


def people(latents_of) -> dict[str, Held]:
    """36 people, six first names by six surnames, in two texts; latents by functions of first and last name."""
    first, last = np.divmod(np.arange(36), 6)
    latents = np.stack([np.asarray(of(first, last), dtype=float) for of in latents_of], 1)
    one = np.random.default_rng(1).permutation(36)[:18]
    other = np.setdiff1d(np.arange(36), one)

    def held(value, values):
        return Held(
            agreement(latents[one], value[one], values), agreement(latents[other], value[other], values)
        )

    whole = agreement(latents, np.arange(36), 36)
    return {"first": held(first, 6), "last": held(last, 6), "entity": Held(whole, whole)}


def test_each_latent_is_of_its_own_kind():
    """The latent of a first name is higher for each Ada than for nearly all others, and yet none of Ada Byron's."""
    made = (
        lambda first, last: first == 2,
        lambda first, last: last == 3,
        lambda first, last: (first == 4) & (last == 1),
        lambda first, last: 0 * first,
        lambda first, last: (first + last) % 2,
    )
    held = people(made)
    found = kinds_of_latents(held)
    assert found["first"].tolist() == [2, -1, -1, -1, -1]
    assert found["last"].tolist() == [-1, 3, -1, -1, -1]
    assert found["entity"].tolist() == [-1, -1, 4 * 6 + 1, -1, -1]
    assert held["first"].sensitivity[2] == 1
    assert held["last"].best[3] == 1


def test_noise_stands_for_nothing():
    noise = np.random.default_rng(2).random((40, 36))
    held = people([lambda first, last, row=row: row * (row > 0.6) for row in noise])
    found = kinds_of_latents(held)
    assert (found["first"] < 0).all()
    assert (found["last"] < 0).all()
    assert 0.3 < held["first"].sensitivity.mean() < 0.7
