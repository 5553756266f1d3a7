"""What is measured at the end of a run: of the scores, or of a residual stream on the way."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Scores(ABC):
    """The end of some runs at one position: the residual stream that was asked for, and what follows from it."""

    resid: Float[Tensor, "run batch d_model"]

    @abstractmethod
    def columns(self, answers: Int[Tensor, "batch answer"]) -> Float[Tensor, "run batch answer"]:
        """The scores of some tokens, each prompt's own."""

    @abstractmethod
    def log_normaliser(self) -> Float[Tensor, "run batch"]:
        """log Σ exp(scores) over the vocabulary."""

    @abstractmethod
    def logits(self) -> Float[Tensor, "run batch vocab"]:
        """The scores of all tokens."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Readout(ABC):
    """A measure of the residual stream after a layer at a position (default: the last of both).

    Fields that are tensors have one row a prompt.
    """

    position: int = -1

    def layer(self, layers: int) -> int:
        """The layer after which the residual stream is read, of a model of so many."""
        return layers - 1

    @abstractmethod
    def __call__(self, scores: Scores) -> Tensor:
        """The measure, [run batch …]."""

    def of(self, rows: slice) -> "Readout":
        """The same for some of the prompts."""
        own: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        cut: dict[str, Any] = {name: v[rows] for name, v in own.items() if isinstance(v, Tensor)}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogitDifference(Readout):
    """logit(right) − logit(wrong), the log-odds of two answers. Tokens: [batch]."""

    right: Int[Tensor, " batch"]
    wrong: Int[Tensor, " batch"]

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch"]:
        answers = torch.stack((self.right, self.wrong), dim=1)
        right, wrong = scores.columns(answers).unbind(2)
        return right - wrong


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Logits(Readout):
    """The scores of some tokens, [batch answer], each prompt's own."""

    answers: Int[Tensor, "batch answer"]

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch answer"]:
        return scores.columns(self.answers)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogProbability(Readout):
    """The log-probability of an answer over the whole vocabulary, in nats. Tokens: [batch]."""

    answer: Int[Tensor, " batch"]

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch"]:
        return scores.columns(self.answer[:, None])[..., 0] - scores.log_normaliser()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AllLogits(Readout):
    """The scores of all tokens."""

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch vocab"]:
        return scores.logits()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Residual(Readout):
    """The residual stream itself after a layer: what a probe reads."""

    after: int

    def layer(self, layers: int) -> int:
        return self.after

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch d_model"]:
        return scores.resid
