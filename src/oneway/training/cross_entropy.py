"""Cross-entropy with a backward pass that goes over the logits once."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """−ln p(target), in nats; its gradient in the logits is p − q, q being 1 on the target."""
    found: Tensor = _CrossEntropy.apply(logits, targets)
    return found


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        # Probabilities are kept, not their logarithms: another exponential of the whole matrix would be the dearest
        # part. The largest of them, 1/Σ exp(l − max l), gives the sum without an underflow.
        probabilities, index = logits.softmax(-1), targets.unsqueeze(-1)
        ctx.save_for_backward(probabilities, index)
        log_sum = logits.amax(-1, keepdim=True) - probabilities.amax(-1, keepdim=True).log()
        return (log_sum - logits.gather(-1, index)).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        probabilities, index = ctx.saved_tensors
        grad = grads[0].unsqueeze(-1)
        # In place: a second backward pass through the same loss is refused by autograd, not answered wrongly.
        return probabilities.mul_(grad).scatter_add_(-1, index, -grad), None
