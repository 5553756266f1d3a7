"""A block's weights made ready to run."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oneway.engine.product import Maker, activate, product
from oneway.models.decoder import Decoder
from oneway.models.decoder_weights import BlockWeights, flat


class Layer:
    """One block: its form, its weights by name, and the products that it runs.

    Norms are not folded into the matrices that follow: on the few columns of the residual stream scale and shift cost
    nothing, and so no matrix is copied but for its layout.
    """

    def __init__(self, form: Decoder, weights: BlockWeights, index: int, made: Maker = product) -> None:
        self.form, self.weights, self.index = form, weights, index
        self.attention = form.attention[index]
        w = weights
        kv, kv_bias = torch.cat([flat(w.W_K).T, flat(w.W_V).T]).T, None
        if w.b_K is not None and w.b_V is not None:
            kv_bias = torch.cat([w.b_K.flatten(), w.b_V.flatten()])
        # Queries apart from keys and values: the last layer needs them at fewer positions.
        self.q = made(flat(w.W_Q), None if w.b_Q is None else w.b_Q.flatten())
        self.kv = made(kv, kv_bias)
        self.attn_out = made(w.W_O.flatten(0, 1), w.b_O)
        self.mlp_in = made(w.W_in, w.b_in)
        self.mlp_up = None if w.W_up is None else made(w.W_up, w.b_up)
        self.mlp_out = made(w.W_out, w.b_out)

    @property
    def sequential(self) -> bool:
        return self.form.block == "sequential"

    def attention_input(self, resid: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """The residual stream normed for attention."""
        return normed(resid, self.weights.ln1_w, self.weights.ln1_b, self.form)

    def mlp_input(self, resid: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """The residual stream normed for the MLP."""
        return normed(resid, self.weights.ln2_w, self.weights.ln2_b, self.form)

    def activate(self, mlp_pre: Float[Tensor, "*n d_mlp"]) -> Float[Tensor, "*n d_mlp"]:
        return activate(mlp_pre, self.form.activation)

    def after_attention(self, out: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """attn_out of what W_O gives: normed, where the family norms what attention writes."""
        scale = self.weights.ln1_post_w
        return out if scale is None else normed(out, scale, None, self.form)

    def after_mlp(self, out: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n d_model"]:
        """mlp_out of what W_out gives: normed, where the family norms what the MLP writes."""
        scale = self.weights.ln2_post_w
        return out if scale is None else normed(out, scale, None, self.form)


def normed(
    x: Float[Tensor, "*n d"], scale: Float[Tensor, " d"], shift: Float[Tensor, " d"] | None, form: Decoder
) -> Float[Tensor, "*n d"]:
    """LayerNorm, (x − mean) / √(variance + ε) · scale + shift, or RMSNorm, x / √(mean of squares + ε) · scale."""
    if form.norm == "layer":
        return functional.layer_norm(x, x.shape[-1:], scale, shift, form.epsilon)
    return root_mean_square_normed(x, scale, form.epsilon)


def root_mean_square_normed(
    x: Float[Tensor, "*n d"], scale: Float[Tensor, " d"], epsilon: float
) -> Float[Tensor, "*n d"]:
    """x / √(mean of squares + ε) · scale. Half precision is computed in float32, where squares do not overflow."""
    if half(x):
        return root_mean_square_normed(x.float(), scale.float(), epsilon).to(x.dtype)
    size = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return (x * size.unsqueeze(-1)).mul_(scale)


def half(x: Tensor) -> bool:
    """Whether the number format is bfloat16 or float16."""
    return x.element_size() < 4
