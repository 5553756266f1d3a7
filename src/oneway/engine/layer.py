"""A block's weights made ready to run: norms folded into the next matrix, keys and values in one product."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oneway.engine.product import Maker, activate, product
from oneway.models.decoder import Decoder
from oneway.models.decoder_weights import BlockWeights, flat, folded


class Layer:
    """One block: its form, its weights by name, and the products that it runs."""

    def __init__(self, form: Decoder, weights: BlockWeights, index: int, made: Maker = product) -> None:
        self.form, self.weights, self.index = form, weights, index
        self.attention = form.attention[index]
        w = weights
        kv, kv_bias = torch.cat([flat(w.W_K).T, flat(w.W_V).T]).T, None
        if w.b_K is not None and w.b_V is not None:
            kv_bias = torch.cat([w.b_K.flatten(), w.b_V.flatten()])
        q_bias = None if w.b_Q is None else w.b_Q.flatten()
        # Queries apart from keys and values: the last layer needs them at fewer positions.
        self.q = made(*folded(w.ln1_w, w.ln1_b, flat(w.W_Q), q_bias))
        self.kv = made(*folded(w.ln1_w, w.ln1_b, kv, kv_bias))
        self.attn_out = made(w.W_O.flatten(0, 1), w.b_O)
        self.mlp_in = made(*folded(w.ln2_w, w.ln2_b, w.W_in, w.b_in))
        self.mlp_up = None if w.W_up is None else made(*folded(w.ln2_w, w.ln2_b, w.W_up, w.b_up))
        self.mlp_out = made(w.W_out, w.b_out)

    @property
    def sequential(self) -> bool:
        return self.form.block == "sequential"

    def standardised(self, x: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """The norm's input made standard, before the scale and shift that are folded into the next matrix."""
        return standardised(x, self.form)

    def mlp_input(self, standard: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """What the MLP itself is given: scale and shift of its norm applied."""
        scaled = standard * self.weights.ln2_w
        return scaled if self.weights.ln2_b is None else scaled + self.weights.ln2_b

    def mlp_pre_of(self, mlp_in: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_mlp"]:
        """mlp_pre of a given input, by the weights as they are."""
        return _affine(mlp_in, self.weights.W_in, self.weights.b_in)

    def mlp_up_of(self, mlp_in: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_mlp"]:
        """What a gated MLP multiplies with, of a given input, by the weights as they are."""
        assert self.weights.W_up is not None
        return _affine(mlp_in, self.weights.W_up, self.weights.b_up)

    def activate(self, mlp_pre: Float[Tensor, "*n d_mlp"]) -> Float[Tensor, "*n d_mlp"]:
        return activate(mlp_pre, self.form.activation)

    def after_attention(self, out: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """attn_out of what W_O gives: normed, where the family norms what attention writes."""
        scale = self.weights.ln1_post_w
        return out if scale is None else standardised(out, self.form) * scale

    def after_mlp(self, out: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """mlp_out of what W_out gives: normed, where the family norms what the MLP writes."""
        scale = self.weights.ln2_post_w
        return out if scale is None else standardised(out, self.form) * scale


def standardised(x: Float[Tensor, "*n d"], form: Decoder) -> Float[Tensor, "*n d"]:
    """(x − mean) / √(variance + ε), or x / √(mean of squares + ε) where the norm is RMSNorm."""
    if form.norm == "layer":
        return functional.layer_norm(x, x.shape[-1:], eps=form.epsilon)
    return root_mean_square_normed(x, form.epsilon)


def root_mean_square_normed(x: Float[Tensor, "*n d"], epsilon: float) -> Float[Tensor, "*n d"]:
    """x / √(mean of squares + ε)."""
    scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return x * scale.unsqueeze(-1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias
