"""What a latent of a sparse autoencoder stands for: one word of a name, an attribute, one entity, or none of these.

Source: Bricken et al. 2023, Towards Monosemanticity, for sensitivity and specificity of a latent; the values and
thresholds are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

SURE, PURE = 0.9, 0.5  # of AUC, and of the share of a latent's activation


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How well every latent says that an example has a value.

    `auc`: the probability that the latent is higher for an example with the value than for one without, ties counting
    half. `purity`: the share of the latent's summed activation that is on examples with the value (0 for a latent that
    never fires). The AUC alone cannot tell a latent of one entity from one of everybody with that first name: each is
    higher for this entity than for nearly all others.
    """

    auc: Float[np.ndarray, "latent value"]
    purity: Float[np.ndarray, "latent value"]


def agreement(
    latents: Float[np.ndarray, "example latent"], value: Int[np.ndarray, " example"], values: int
) -> Agreement:
    """Every latent against every one of so many values; one that all or none of the examples have gets an AUC of ½."""
    has = np.eye(values)[value]
    positive = has.sum(0)
    ranks = rankdata(latents, axis=0)
    pairs = positive * (len(value) - positive)
    above = ranks.T @ has - positive * (positive + 1) / 2
    auc = np.divide(above, pairs, out=np.full(above.shape, 0.5), where=pairs > 0)
    total = latents.sum(0)[:, None]
    purity = np.divide(latents.T @ has, total, out=np.zeros_like(auc), where=total > 0)
    return Agreement(auc, purity)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One kind of value, by two sets of examples: on the first values are chosen, on the other latents are judged."""

    chosen: Agreement
    judged: Agreement

    @property
    def best(self) -> Int[np.ndarray, " value"]:
        """The latent with the highest AUC for each value, on the first examples."""
        found: np.ndarray = self.chosen.auc.argmax(0)
        return found

    @property
    def sensitivity(self) -> Float[np.ndarray, " value"]:
        """The AUC of each value's best latent on the other examples: ½ by chance."""
        found: np.ndarray = self.judged.auc[self.best, np.arange(self.judged.auc.shape[1])]
        return found

    def named(self) -> Int[np.ndarray, " latent"]:
        """The value that each latent stands for on the first examples, by purity; −1: none, by either threshold."""
        value = self.chosen.purity.argmax(1)
        return np.where(_sure(self.chosen, value), value, -1)

    def holds(self) -> Int[np.ndarray, " latent"]:
        """The same, where it holds on the other examples as well."""
        value = self.named()
        return np.where((value >= 0) & _sure(self.judged, value.clip(0)), value, -1)


def _sure(of: Agreement, value: Int[np.ndarray, " latent"]) -> np.ndarray:
    row = np.arange(len(value))
    found: np.ndarray = (of.auc[row, value] >= SURE) & (of.purity[row, value] >= PURE)
    return found


def kinds_of_latents(held: Mapping[str, Held]) -> dict[str, Int[np.ndarray, " latent"]]:
    """The value of each latent in the first of the kinds that it belongs to, −1 in all others.

    Kinds are given the widest first: a latent of a first name is no latent of the one entity that it is highest for.
    """
    free = np.ones(len(next(iter(held.values())).named()), dtype=bool)
    found = {}
    for kind, of in held.items():
        found[kind] = np.where(free, of.holds(), -1)
        free &= of.named() < 0
    return found
