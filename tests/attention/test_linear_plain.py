"""The chunked kernel where rows and heads are many, which it computes in reused buffers, against the specification."""

import pytest
import torch

from manyheads.attention.features import Elu
from manyheads.attention.kernels.linear import chunked, plain, reference
from manyheads.attention.mask import Mask

B, D = 2, 24


@pytest.fixture
def used(monkeypatch) -> list:
    """What was computed in the buffers: this file is about nothing else."""
    made, start = [], plain.PlainPart.__init__
    monkeypatch.setattr(plain.PlainPart, "__init__", lambda self, *given: (made.append(self), start(self, *given))[1])
    return made


def inputs(heads: int, groups: int, n: int, m: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """As models hand them over: positions before heads in memory."""
    shapes = [(B, n, heads, D), (B, m, groups, D), (B, m, groups, D)]
    return [torch.randn(shape, dtype=dtype).transpose(1, 2) for shape in shapes]


def answer(kernel, qkv, mask: Mask, chunk: int, eps: float, weights) -> list[torch.Tensor]:
    qkv = [x.detach().clone().requires_grad_() for x in qkv]
    out = kernel.attend(*qkv, mask, Elu(chunk), eps)
    return [out, *torch.autograd.grad((out * weights).sum(), qkv)]


@pytest.mark.parametrize(("dtype", "least"), [(torch.float64, 1e-11), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("groups", [2, 8])
@pytest.mark.parametrize(("n", "m"), [(137, 137), (100, 161), (161, 100), (64, 64), (65, 65)])
def test_values_and_gradients(used, n, m, groups, dtype, least):
    for lengths in (None, torch.tensor([m, m // 3])):
        qkv, weights = inputs(8, groups, n, m, dtype), torch.randn(B, 8, n, D, dtype=dtype)
        mask = Mask(n, m, causal=True, lengths=lengths)
        found, expected = (answer(kernel, qkv, mask, 32, 1e-6, weights) for kernel in (chunked, reference))
        torch.testing.assert_close(found, expected, rtol=0, atol=least)
    assert used


def test_padding_may_hold_anything(used):
    q, k, v = inputs(8, 8, 137, 137, torch.float64)
    mask = Mask(137, 137, causal=True, lengths=torch.tensor([137, 50]))
    before = answer(chunked, (q, k, v), mask, 32, 0.0, 1.0)
    k[1, :, 50:], v[1, :, 50:] = float("nan"), float("inf")
    assert all(torch.equal(*pair) for pair in zip(before, answer(chunked, (q, k, v), mask, 32, 0.0, 1.0), strict=True))
    assert used


@pytest.mark.parametrize("heads", [2, 8])
def test_a_backward_inside_autocast_is_the_same(heads):
    qkv, mask = inputs(heads, heads, 100, 100, torch.float32), Mask(100, 100, causal=True)
    plainly = answer(chunked, qkv, mask, 16, 1e-6, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = answer(chunked, qkv, mask, 16, 1e-6, 1.0)
    assert all(torch.equal(*pair) for pair in zip(plainly[1:], inside[1:], strict=True))
