"""Settings of the process hold while a fit steps, and no longer; what cannot be had is refused."""

from types import SimpleNamespace

import pytest
import torch

from oneway.training import hardware
from oneway.training.fit import Batch, fit, last_tokens_loss
from oneway.training.hardware import check_matmul, kept_memory, matrix_products
from oneway.training.optimisers import Optimisation


def precision() -> str:
    return torch.backends.mkldnn.matmul.fp32_precision


def test_factors_are_rounded_in_steps_and_not_where_is_measured():
    from oneway.models.architecture import gpt2
    from oneway.models.transformer import initial_weights

    a, seen = gpt2(vocab=11, context=3, layers=1, width=8, heads=2), []
    tokens = torch.randint(11, (1, 4, 3), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :, :-1], torch.empty(0, dtype=torch.long), tokens[:, :, -1], torch.ones(1, 4))

    def objective(weights, a, batch):
        seen.append(("step", precision()))
        return last_tokens_loss(weights, a, batch)

    def evaluate(weights, step):
        seen.append(("measured", precision()))
        return []

    before = precision()
    o = Optimisation(steps=2, matmul="bfloat16")
    fit(initial_weights(a, (0,)), a, lambda step: batch, o, objective=objective, evaluate=evaluate)
    assert seen == [("measured", before), ("step", "bf16"), ("step", "bf16"), ("measured", before)]
    assert precision() == before


def test_the_setting_ends_with_an_error_too():
    before = precision()
    with pytest.raises(ZeroDivisionError), matrix_products("bfloat16"):
        _ = 1 / 0
    assert precision() == before


def test_bfloat16_factors_round_to_eight_bits_and_sums_do_not():
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    exact = (x.double() @ x.double().T).float()
    with matrix_products("bfloat16"):
        got = x @ x.T
    size = x.abs() @ x.abs().T
    assert ((got - exact).abs() <= 2 * 2**-8 * size).all()


def test_what_the_device_lacks_is_refused():
    check_matmul("float32", "cuda")
    check_matmul("bfloat16", "cpu")
    with pytest.raises(ValueError, match="on cuda use float32"):
        check_matmul("bfloat16", "cuda")


def test_memory_is_kept_where_glibc_is_and_then_no_longer(monkeypatch):
    asked = []
    libc = SimpleNamespace(mallopt=lambda *pair: asked.append(pair))
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: libc)
    for name, calls in (("glibc", 5), ("", 0)):
        asked.clear()
        monkeypatch.setattr(hardware.platform, "libc_ver", lambda name=name: (name, ""))
        with kept_memory():
            assert [pair[0] for pair in asked] == [hardware.MMAP_MAX, hardware.TRIM_THRESHOLD][: len(asked)]
        assert len(asked) == calls
