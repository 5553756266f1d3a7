"""What the benchmarks say of matrix products: how many operations a call takes, and this machine's rate."""

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from oneway.models import onednn
from oneway.training.hardware import Matmul, matrix_products

SIZE, REPEATS = 2048, 6


def counting() -> FlopCounterMode:
    """Counts the operations of all matrix products inside, oneDNN's too, which torch's counter does not know."""

    def linear(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        rows = 1
        for size in out_shape:
            rows *= size
        return 2 * rows * x[-1]

    def binary(x: Any, other: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
        return linear(x, other, out_shape=out_shape)

    own = {}
    if onednn.available():
        own = {torch.ops.mkldnn._linear_pointwise.default: linear}
        own |= {torch.ops.mkldnn._linear_pointwise.binary: binary}
        own |= {torch.ops.mkldnn._linear_pointwise: linear}
    return FlopCounterMode(display=False, custom_mapping=own)


def peak(matmul: Matmul = "float32") -> float:
    """FLOP/s of the best product of large matrices, by torch's default or by oneDNN, whichever is faster."""
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    ways = [lambda: a @ b]
    if matmul == "float32" and onednn.available():
        ways.append(lambda: onednn.product(a, b, None))
    best = float("inf")
    with matrix_products(matmul), torch.no_grad():
        for multiply in ways:
            for _ in range(REPEATS):
                start = time.process_time()
                multiply()
                best = min(best, time.process_time() - start)
    return 2 * SIZE**3 / best
