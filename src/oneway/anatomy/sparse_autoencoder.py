"""Sparse autoencoders of a site's values, by SAELens: an activation as a sum of few directions of a learnt dictionary.

Source: Bricken et al. 2023, Towards Monosemanticity; Gao et al. 2024 (arXiv 2406.04093), TopK; Bloom et al., SAELens.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oneway.report.progress import progress

LIBRARY, EXTRA = "sae_lens", "features"


class NoSparseAutoencoders(ValueError):
    """The library that trains sparse autoencoders is not installed."""


def check_library() -> None:
    """Raises NoSparseAutoencoders, with what to install, where SAELens is not there."""
    if find_spec(LIBRARY) is None:
        raise NoSparseAutoencoders(
            f"sparse autoencoders are trained by SAELens, which is not installed: pip install 'oneway[{EXTRA}]'"
        )


@cache
def _library() -> ModuleType:
    check_library()
    with warnings.catch_warnings():
        # TransformerLens, which SAELens imports and nothing here uses, announces its version 4.
        warnings.simplefilter("ignore", DeprecationWarning)
        import sae_lens
        import sae_lens.config
    return sae_lens


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsity:
    """A dictionary of `latents` directions, `active` of which make up an activation, and how it is learnt.

    TopK: the `active` latents with the largest values are kept; those that fired in none of the last `dead_after` steps
    learn from what the others leave over. Adam, its rate falling linearly to a tenth in the second half.
    """

    latents: int = 256
    active: int = 8
    steps: int = 300
    batch: int = 512
    learning_rate: float = 3e-3
    dead_after: int = 30


@dataclass(frozen=True, slots=True, eq=False)
class SparseAutoencoder:
    """x ≈ centre + scale · (b + Σ_i f_i(x) d_i), at most `active` of the f_i above 0, every |d_i| = 1.

    `network` is SAELens' own, whose input is (x − centre) / scale.
    """

    network: Any
    centre: Float[Tensor, " d_in"]
    scale: float

    @property
    def directions(self) -> Float[Tensor, "latent d_in"]:
        """d_i: the unit vectors of the decoder."""
        rows: Tensor = self.network.W_dec.detach()
        return rows / rows.norm(dim=1, keepdim=True)

    @torch.no_grad()
    def latents(self, values: Float[Tensor, "... d_in"]) -> Float[Tensor, "... latent"]:
        """f(x), in units of `scale`: 0 where a latent does not fire."""
        found: Tensor = self.network.encode((values - self.centre) / self.scale)
        return found

    @torch.no_grad()
    def rebuilt(self, latents: Float[Tensor, "... latent"]) -> Float[Tensor, "... d_in"]:
        """The activation that latents stand for."""
        found: Tensor = self.network.decode(latents)
        return self.centre + self.scale * found

    def reconstruction(self, values: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """What the autoencoder makes of activations."""
        return self.rebuilt(self.latents(values))

    def variance_explained(self, values: Float[Tensor, "row d_in"]) -> float:
        """1 − Σ |x − x̂|² / Σ |x − mean x|²."""
        missed = (values - self.reconstruction(values)).square().sum()
        return float(1 - missed / (values - values.mean(0)).square().sum())


def train_sparse_autoencoder(
    values: Float[Tensor, "row d_in"], sparsity: Sparsity, *, seed: int = 0
) -> SparseAutoencoder:
    """Learn a dictionary of a site's values, in a new order every epoch. With no steps it stays as it was drawn.

    Activations are centred, and scaled to a mean square of 1 a dimension, before the library sees them.
    Raises NoSparseAutoencoders without SAELens, and ValueError where more latents are to fire than there are.
    """
    library = _library()
    if not 1 <= sparsity.active <= sparsity.latents:
        raise ValueError(
            f"{sparsity.active} of {sparsity.latents} latents cannot fire: give 1 to all of them"
        )
    centre = values.mean(0)
    scale = float((values - centre).square().mean().sqrt()) or 1.0
    with torch.random.fork_rng(devices=[]):  # the library draws from the global generator
        torch.manual_seed(seed)
        network = library.TopKTrainingSAE(
            library.TopKTrainingSAEConfig(
                d_in=values.shape[1], d_sae=sparsity.latents, k=sparsity.active, device=str(values.device)
            )
        )
        _train(library, network, (values - centre) / scale, sparsity)
    network.eval()
    return SparseAutoencoder(network, centre, scale)


def _train(library: ModuleType, network: Any, values: Tensor, sparsity: Sparsity) -> None:
    steps, batch = sparsity.steps, min(sparsity.batch, len(values))
    if not steps:
        return
    trainer = library.SAETrainer(
        library.config.SAETrainerConfig(
            total_training_samples=steps * batch,
            train_batch_size_samples=batch,
            lr=sparsity.learning_rate,
            lr_end=sparsity.learning_rate / 10,
            lr_decay_steps=steps // 2,
            dead_feature_window=sparsity.dead_after,
            device=str(values.device),
        ),
        network,
        iter(()),  # batches are handed to `step`, so that the bar is ours
    )
    epoch = math.ceil(steps * batch / (len(values) // batch * batch))
    orders = (torch.randperm(len(values))[: len(values) // batch * batch] for _ in range(epoch))
    rows = (some for order in orders for some in order.split(batch))
    with progress("sparse autoencoder") as advance:
        for step in range(steps):
            trainer.step(values[next(rows)])
            trainer.n_training_steps += 1
            advance(step + 1, steps)
