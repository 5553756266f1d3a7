"""A decoder made ready to run: embedding, layers, final norm, unembedding."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.engine.layer import Layer, normed
from oneway.engine.product import Maker, Product, product
from oneway.engine.readout import Scores
from oneway.models.decoder import Decoder
from oneway.models.decoder_weights import DecoderWeights

# Columns of the unembedding multiplied at a time: their logits stay in the cache while they are summed.
TILE = 8192
FEW = 32  # rows for which the unembedding is not worth being made ready


class Prepared:
    """The form of a decoder, its weights by name, and its layers made ready one by one as they are needed."""

    def __init__(self, form: Decoder, weights: DecoderWeights, made: Maker = product) -> None:
        self.form, self.weights, self._made = form, weights, made
        self._ready: dict[int, Layer] = {}

    def layer(self, index: int) -> Layer:
        """A layer, made ready when it is first asked for."""
        if index not in self._ready:
            self._ready[index] = Layer(self.form, self.weights.blocks[index], index, self._made)
        return self._ready[index]

    def embedded(
        self, tokens: Int[Tensor, "*batch pos"], start: int = 0
    ) -> Float[Tensor, "*batch pos d_model"]:
        """The residual stream before the first block, the first token being at position `start`."""
        x = torch.nn.functional.embedding(tokens, self.weights.W_E)
        if self.form.embedding_scale != 1:
            x = x * self.form.embedding_scale
        if self.weights.W_pos is not None:
            x = x + self.weights.W_pos[start : start + tokens.shape[-1]]
        return x

    def final_norm(self, resid: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """The normed last residual stream."""
        return normed(resid, self.weights.ln_f_w, self.weights.ln_f_b, self.form)

    def capped(self, logits: Tensor) -> Tensor:
        """softcap · tanh(logits / softcap), where the family does that; in place."""
        cap = self.form.softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def logits(self, final: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """The scores of all tokens."""
        if len(final) < FEW:
            return self.capped(final @ self.weights.W_U)
        out = torch.empty(len(final), self.form.vocab, dtype=final.dtype, device=final.device)
        for start, part in self.tiles(final):
            out[:, start : start + part.shape[1]] = part
        return out

    def tiles(self, final: Float[Tensor, "n d_model"]) -> Iterator[tuple[int, Float[Tensor, "n column"]]]:
        """The scores of some tokens after the other, and which token is the first of them."""
        for start, tile in self._tiles:
            yield start, self.capped(tile(final))

    def log_normaliser(self, final: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """log Σ exp(logits) over the vocabulary, without keeping the logits."""
        top = torch.full((len(final),), -torch.inf, dtype=final.dtype, device=final.device)
        total = torch.zeros_like(top)
        for _, part in self.tiles(final):
            new = torch.maximum(top, part.amax(1))
            total.mul_((top - new).exp_()).add_(part.sub_(new[:, None]).exp_().sum(1))
            top = new
        return total.log_().add_(top)

    def columns(
        self, final: Float[Tensor, "run batch d_model"], tokens: Int[Tensor, "batch answer"]
    ) -> Float[Tensor, "run batch answer"]:
        """The scores of some tokens only, each prompt's own."""
        chosen = self.weights.W_U.T[tokens]  # [batch answer d_model]
        return self.capped(torch.einsum("rbd,bad->rba", final, chosen))

    @cached_property
    def _tiles(self) -> Sequence[tuple[int, Product]]:
        unembedding = self.weights.W_U
        return [
            (start, self._made(unembedding[:, start : start + TILE], None))
            for start in range(0, self.form.vocab, TILE)
        ]


class ScoresOf(Scores):
    """Scores computed from the residual stream, and only those that are asked for."""

    def __init__(self, model: Prepared, resid: Float[Tensor, "run batch d_model"]) -> None:
        self._model, self.resid = model, resid

    @cached_property
    def _normed(self) -> Float[Tensor, "run batch d_model"]:
        return self._model.final_norm(self.resid)

    def columns(self, answers: Int[Tensor, "batch answer"]) -> Float[Tensor, "run batch answer"]:
        return self._model.columns(self._normed, answers)

    def log_normaliser(self) -> Float[Tensor, "run batch"]:
        return self._model.log_normaliser(self._normed.flatten(0, 1)).view(self.resid.shape[:2])

    def logits(self) -> Float[Tensor, "run batch vocab"]:
        return self._model.logits(self._normed.flatten(0, 1)).view(*self.resid.shape[:2], -1)
