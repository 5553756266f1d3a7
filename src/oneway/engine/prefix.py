"""What is kept of texts that are read on: the one cache, of the engine and of a model's own code."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Int
from torch import Tensor

from oneway.engine.following import Following


class Prefix(ABC):
    """What a model keeps of texts that others follow, one row for each; all are `length` tokens long."""

    length: int

    @abstractmethod
    def rows(self, rows: Int[Tensor, " row"]) -> "Prefix":
        """Those of some of the texts, which may repeat; these are left as they are."""


class Reader(ABC):
    """A model that reads texts on from where others stopped."""

    vocab: int
    device: torch.device

    @property
    @abstractmethod
    def bytes_per_token(self) -> int:
        """Bytes that one token adds to a row of a prefix."""

    @abstractmethod
    def read_on(
        self, tokens: Int[Tensor, "row pos"], prefix: Prefix | None = None
    ) -> tuple[Following, Prefix]:
        """What may follow each text, and what is kept of it.

        `tokens` are the texts, or what follows the rows of a prefix, which is left as it is. Nothing that a prefix
        holds is computed again. Raises ValueError for tokens that the model cannot read.
        """
