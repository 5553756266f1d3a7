"""Products by oneDNN have the values and the gradients of torch's own."""

import pytest
import torch

from oneway.models import onednn
from oneway.training.hardware import matrix_products


@pytest.mark.skipif(not onednn.available(), reason="this torch offers no oneDNN products")
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_product_and_its_gradients(with_bias: bool, transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(33, 24, generator=generator, requires_grad=True)
    stored = torch.randn(*((17, 24) if transposed else (24, 17)), generator=generator, requires_grad=True)
    weight = stored.t() if transposed else stored  # a tied unembedding is a transposed view
    bias = torch.randn(17, generator=generator, requires_grad=True) if with_bias else None
    wanted = x @ weight + (0 if bias is None else bias)
    found = onednn.product(x, weight, bias)
    torch.testing.assert_close(found, wanted)
    inputs = [x, stored, *([] if bias is None else [bias])]
    into = torch.randn(33, 17, generator=generator)
    for one, other in zip(
        torch.autograd.grad(found, inputs, into), torch.autograd.grad(wanted, inputs, into), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_double_precision_is_left_to_torch() -> None:
    assert not onednn.usable(torch.zeros(2, dtype=torch.float64))
    assert not onednn.usable(torch.zeros(2, device="meta"))


def test_rounded_products_are_left_to_torch() -> None:
    with matrix_products("bfloat16"):
        assert not onednn.usable(torch.zeros(2))
    assert onednn.usable(torch.zeros(2)) == onednn.available()
