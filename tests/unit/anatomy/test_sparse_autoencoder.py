"""Sparse autoencoders recover a dictionary that is known; without their library it is said what to install."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from oneway.anatomy import sparse_autoencoder
from oneway.anatomy.sparse_autoencoder import (
    NoSparseAutoencoders,
    SparseAutoencoder,
    Sparsity,
    check_library,
    train_sparse_autoencoder,
)

needs_library = pytest.mark.skipif(
    find_spec("sae_lens") is None, reason="SAELens is not installed: `make features`"
)
SMALL = Sparsity(latents=24, active=2, steps=600, batch=128, learning_rate=1e-2)


def known_dictionary() -> tuple[torch.Tensor, torch.Tensor]:
    """Activations that are sums of two of twelve orthogonal directions, far from the origin."""
    drawn = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 16, generator=drawn))[0][:12]
    on = torch.stack([torch.randperm(12, generator=drawn)[:2] for _ in range(2000)])
    amounts = 1 + torch.rand(2000, 2, generator=drawn)
    return (amounts[..., None] * directions[on]).sum(1) + 50.0, directions


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(sparse_autoencoder, "find_spec", lambda name: None)
    with pytest.raises(NoSparseAutoencoders, match=r"pip install 'oneway\[features\]'"):
        check_library()


@pytest.fixture(scope="module")
def trained() -> SparseAutoencoder:
    return train_sparse_autoencoder(known_dictionary()[0], SMALL, seed=0)


@needs_library
def test_a_known_dictionary_is_recovered(trained):
    values, directions = known_dictionary()
    assert trained.variance_explained(values) > 0.95
    cosines = trained.directions @ directions.T
    assert (cosines.max(0).values > 0.9).double().mean() > 0.9
    drawn = train_sparse_autoencoder(values, replace(SMALL, steps=0), seed=0)
    assert (drawn.directions @ directions.T).max() < 0.9


@needs_library
def test_an_activation_is_a_sum_of_few_directions(trained):
    values = known_dictionary()[0][:50]
    latents = trained.latents(values)
    assert ((latents > 0).sum(1) <= 2).all()
    assert (latents >= 0).all()
    nothing = trained.rebuilt(torch.zeros_like(latents))
    by_hand = nothing + trained.scale * latents @ trained.directions
    assert torch.allclose(trained.reconstruction(values), by_hand, atol=1e-4)
    assert torch.allclose(trained.directions.norm(dim=1), torch.ones(24))


@needs_library
def test_the_same_seed_gives_the_same_dictionary_and_draws_from_nobody_elses(trained):
    before = torch.random.get_rng_state()
    again = train_sparse_autoencoder(known_dictionary()[0], SMALL, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(again.directions, trained.directions)
    other = train_sparse_autoencoder(known_dictionary()[0], replace(SMALL, steps=1), seed=1)
    assert not torch.equal(other.directions, trained.directions)


@needs_library
def test_more_active_latents_than_there_are_is_refused():
    with pytest.raises(ValueError, match="30 of 24 latents cannot fire"):
        train_sparse_autoencoder(known_dictionary()[0], replace(SMALL, active=30))
