"""What makes the same training faster on a CPU: denormals, freed memory, and the precision of matrix products."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator
from typing import Literal

import torch

Matmul = Literal["float32", "bfloat16"]

# glibc's mallopt: parameters, and the values that its own rule reaches after large blocks were freed.
MMAP_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -4, -3, -1
MIB = 2**20


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Tiny numbers become zero: after thousands of AdamW steps they slow a CPU down several times."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Freed memory stays with the process: a step asks for what the one before it gave back.

    glibc hands large blocks back to the system at once, and every page of the next one then costs a fault: a
    third of the time of a backward pass. Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(MMAP_MAX, 65536)
        mallopt(MMAP_THRESHOLD, 32 * MIB)
        mallopt(TRIM_THRESHOLD, 64 * MIB)


def check_matmul(matmul: Matmul, device: str) -> None:
    """Raises ValueError where matrix products of this precision are not to be had."""
    if matmul == "float32":
        return
    if device != "cpu":
        raise ValueError(f"matrix products in {matmul} are a setting of the CPU: on {device} use float32")
    if not hasattr(torch.backends.mkldnn, "matmul"):
        raise ValueError(f"matrix products in {matmul} need torch 2.9, this is {torch.__version__}")


@contextlib.contextmanager
def matrix_products(matmul: Matmul) -> Iterator[None]:
    """Inside, the CPU's products of float32 matrices round their factors to this precision; sums stay float32.

    A CPU without bfloat16 instructions goes on in float32.
    """
    if matmul == "float32":
        yield
        return
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before
