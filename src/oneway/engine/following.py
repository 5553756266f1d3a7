"""What may follow some texts: the distribution of the next token behind each."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from oneway.engine.prepared import Prepared


class Following(ABC):
    """What may follow some texts, one row for each."""

    @abstractmethod
    def logits(self) -> Float[Tensor, "row vocab"]:
        """The scores of all tokens."""

    @abstractmethod
    def log_probabilities(
        self, rows: Int[Tensor, " asked"], tokens: Int[Tensor, " asked"]
    ) -> tuple[Float64[Tensor, " asked"], Bool[Tensor, " asked"]]:
        """log P(token) in nats behind each of some texts, over the whole vocabulary; and whether it is the token that
        greedy decoding takes: the first of the largest scores."""


class Scored(Following):
    """From the scores of all tokens.

    A few rows at a time stay in the processor's cache, which on a CPU is three to five times faster than `logsumexp`,
    and the softmax of all rows is never held.
    """

    def __init__(self, logits: Float[Tensor, "row vocab"]) -> None:
        self._logits = logits

    def logits(self) -> Float[Tensor, "row vocab"]:
        return self._logits

    def log_probabilities(
        self, rows: Int[Tensor, " asked"], tokens: Int[Tensor, " asked"]
    ) -> tuple[Float64[Tensor, " asked"], Bool[Tensor, " asked"]]:
        rows, tokens = rows.to(self._logits.device), tokens.to(self._logits.device)
        chosen = self._logits[rows, tokens]
        top, normaliser = self._top_and_normaliser()
        greedy = chosen >= top[rows]
        hits = greedy.nonzero()[:, 0]
        greedy[hits] = self._logits[rows[hits]].argmax(-1) == tokens[hits]
        return chosen.double() - normaliser[rows], greedy

    def _top_and_normaliser(self) -> tuple[Float[Tensor, " row"], Float64[Tensor, " row"]]:
        """The largest score m of each row and log Σ exp(scores). The fused log-softmax gives the sum:
        log softmax(m) = m − log Σ exp."""
        tops, sums = [], []
        for rows in self._logits.split(8 if self._logits.device.type == "cpu" else 1024):
            top = rows.amax(-1)
            tops.append(top)
            sums.append(top.double() - torch.log_softmax(rows.float(), dim=-1).amax(-1).double())
        return torch.cat(tops), torch.cat(sums)


class Unembedded(Following):
    """From the normed last residual stream: the scores are computed some columns at a time and never all held."""

    def __init__(self, model: Prepared, final: Float[Tensor, "at_least_row d_model"], rows: int) -> None:
        """`rows`: how many of the rows are asked for, the first ones."""
        self._model, self._final, self._rows = model, final, rows

    def logits(self) -> Float[Tensor, "row vocab"]:
        return self._model.logits(self._final)[: self._rows]

    @torch.inference_mode()
    def log_probabilities(
        self, rows: Int[Tensor, " asked"], tokens: Int[Tensor, " asked"]
    ) -> tuple[Float64[Tensor, " asked"], Bool[Tensor, " asked"]]:
        device, count = self._final.device, len(self._final)
        rows, tokens = rows.to(device), tokens.to(device)
        chosen = torch.empty(len(tokens), device=device)
        top, total = torch.full((count,), -torch.inf, device=device), torch.zeros(count, device=device)
        first = torch.zeros(count, dtype=torch.int64, device=device)
        for start, part in self._model.tiles(self._final):
            part = part.float()
            inside = ((tokens >= start) & (tokens < start + part.shape[1])).nonzero()[:, 0]
            chosen[inside] = part[rows[inside], tokens[inside] - start]
            new = torch.maximum(top, part.amax(1))
            higher = (new > top).nonzero()[:, 0]
            first[higher] = part[higher].argmax(1) + start
            total.mul_((top - new).exp_()).add_(part.sub_(new[:, None]).exp_().sum(1))
            top = new
        normaliser = top.double() + total.double().log()
        return chosen.double() - normaliser[rows], first[rows] == tokens
