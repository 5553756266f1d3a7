"""What is measured at the end of a run: of the scores, or of a residual stream on the way."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.prepared import Prepared
from oneway.models.decoder import Decoder


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Readout(ABC):
    """A measure of the residual stream after a layer at a position (default: the last of both).

    Fields that are tensors have one row a prompt.
    """

    position: int = -1

    def layer(self, form: Decoder) -> int:
        """The layer after which the residual stream is read."""
        return form.layers - 1

    @abstractmethod
    def __call__(self, model: Prepared, resid: Float[Tensor, "run batch d_model"]) -> Tensor:
        """The measure, [run batch …]."""

    def of(self, rows: slice) -> Self:
        """The same for some of the prompts."""
        own: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        cut: dict[str, Any] = {name: v[rows] for name, v in own.items() if isinstance(v, Tensor)}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogitDifference(Readout):
    """logit(right) − logit(wrong), the log-odds of two answers. Tokens: [batch]."""

    right: Int[Tensor, " batch"]
    wrong: Int[Tensor, " batch"]

    def __call__(
        self, model: Prepared, resid: Float[Tensor, "run batch d_model"]
    ) -> Float[Tensor, "run batch"]:
        answers = torch.stack((self.right, self.wrong), dim=1)
        right, wrong = model.columns(model.final_norm(resid), answers).unbind(2)
        return right - wrong


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Logits(Readout):
    """The scores of some tokens, [batch answer], each prompt's own."""

    answers: Int[Tensor, "batch answer"]

    def __call__(
        self, model: Prepared, resid: Float[Tensor, "run batch d_model"]
    ) -> Float[Tensor, "run batch answer"]:
        return model.columns(model.final_norm(resid), self.answers)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogProbability(Readout):
    """The log-probability of an answer over the whole vocabulary, in nats. Tokens: [batch]."""

    answer: Int[Tensor, " batch"]

    def __call__(
        self, model: Prepared, resid: Float[Tensor, "run batch d_model"]
    ) -> Float[Tensor, "run batch"]:
        normed = model.final_norm(resid)
        score = model.columns(normed, self.answer[:, None])[..., 0]
        return score - model.log_normaliser(normed.flatten(0, 1)).view(score.shape)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AllLogits(Readout):
    """The scores of all tokens."""

    def __call__(
        self, model: Prepared, resid: Float[Tensor, "run batch d_model"]
    ) -> Float[Tensor, "run batch vocab"]:
        return model.logits(model.final_norm(resid).flatten(0, 1)).view(*resid.shape[:2], -1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Residual(Readout):
    """The residual stream itself after a layer: what a probe reads."""

    after: int

    def layer(self, form: Decoder) -> int:
        return self.after

    def __call__(
        self, model: Prepared, resid: Float[Tensor, "run batch d_model"]
    ) -> Float[Tensor, "run batch d_model"]:
        return resid
