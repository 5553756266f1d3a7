"""x W + b for a matrix that is used again and again."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oneway.models import onednn
from oneway.models.decoder import Activation


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation of an MLP."""
    match activation:
        case "gelu":
            return functional.gelu(x)
        case "gelu_tanh":
            return functional.gelu(x, approximate="tanh")
        case "silu":
            return functional.silu(x)
        case "relu":
            return functional.relu(x)


class Product:
    """x W + b, the matrix kept in the form that the device multiplies fastest with."""

    def __init__(self, weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, " d_out"] | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """x W + b."""
        return x @ self._weight if self._bias is None else torch.addmm(self._bias, x, self._weight)

    def onto(self, x: Float[Tensor, "n d_in"], base: Float[Tensor, "n d_out"]) -> Float[Tensor, "n d_out"]:
        """base + x W + b."""
        out = base.clone() if self._bias is None else base + self._bias
        return out.addmm_(x, self._weight)

    def activated(self, x: Float[Tensor, "n d_in"], activation: Activation) -> Float[Tensor, "n d_out"]:
        """activation(x W + b)."""
        return activate(self(x), activation)


class FusedProduct(Product):
    """The same by oneDNN: bias, sum and activation are applied while results are in the cache.

    Twice as fast as the default product on CPUs whose vendor is not the default library's.
    """

    FUSED: ClassVar = {
        "gelu": ("gelu", "none"),
        "gelu_tanh": ("gelu", "tanh"),
        "relu": ("relu", ""),
        "silu": ("swish", ""),
    }

    def __init__(self, weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, " d_out"] | None) -> None:
        self._weight = weight.T.contiguous()  # as oneDNN's products take it
        self._bias = None if bias is None else bias.contiguous()

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")

    def onto(self, x: Float[Tensor, "n d_in"], base: Float[Tensor, "n d_out"]) -> Float[Tensor, "n d_out"]:
        return torch.ops.mkldnn._linear_pointwise.binary(x, base, self._weight, self._bias, "add")

    def activated(self, x: Float[Tensor, "n d_in"], activation: Activation) -> Float[Tensor, "n d_out"]:
        name, algorithm = self.FUSED[activation]
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, name, [], algorithm)


class PackedProduct(FusedProduct):
    """The same with the matrix in oneDNN's own layout, which takes as much memory again, and a while to make."""

    def __init__(self, weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, " d_out"] | None) -> None:
        super().__init__(weight, bias)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)


Maker = Callable[[Float[Tensor, "d_in d_out"], Float[Tensor, " d_out"] | None], Product]


def product(weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, " d_out"] | None) -> Product:
    """The fastest form of x W + b, for the device and number format of the matrix."""
    return PackedProduct(weight, bias) if onednn.usable(weight) else Product(weight, bias)


def passing_product(weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, " d_out"] | None) -> Product:
    """A form of x W + b that is used a few times and given up: nothing is made ready."""
    return FusedProduct(weight, bias) if onednn.usable(weight) else Product(weight, bias)
