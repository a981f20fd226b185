"""The strips themselves: cut small, so that short sequences have many, and compared with the specification."""

import pytest
import torch
from oracle import cases
from test_tiles import B, Draw, H, any_mask

from manyheads.attention.bias import DistanceBias
from manyheads.attention.kernels import blocked, reference
from manyheads.attention.kernels.strips import plan, runs
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.window import Window

D = 6


@pytest.fixture(autouse=True)
def small_strips(monkeypatch):
    """Few queries and few scores a strip, and nothing goes together for being short."""
    monkeypatch.setattr(plan, "SHORT", 0)
    monkeypatch.setattr(plan, "SCORES", 150)
    monkeypatch.setattr(runs, "QUERIES", 4)


def inputs(mask: Mask, heads: int, groups: int, dtype=torch.float64) -> list[torch.Tensor]:
    shapes = [(B, heads, mask.queries, D), (B, groups, mask.keys, D), (B, groups, mask.keys, D)]
    # As models hand them over: positions before heads in memory.
    return [torch.randn(shape, dtype=dtype).transpose(1, 2).contiguous().transpose(1, 2) for shape in shapes]


def answer(kernel, qkv, mask: Mask, bias, shift, weights) -> list[torch.Tensor]:
    """Output and gradients."""
    qkv = [x.detach().requires_grad_() for x in qkv]
    out = kernel.attend(*qkv, mask, bias, 0.0, shift)
    return [out, *torch.autograd.grad((out * weights).sum() + 0 * sum(x.sum() for x in qkv), qkv)]


def assert_as_specified(mask: Mask, groups: int, bias=None, shift=None) -> None:
    qkv = inputs(mask, 2 * H, groups)
    weights = torch.randn(B, 2 * H, mask.queries, D, dtype=torch.float64)
    expected = answer(reference, qkv, mask, bias, shift, weights)
    found = answer(blocked, qkv, mask, bias, shift, weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def any_bias(draw: Draw, mask: Mask):
    slopes = torch.rand(2 * H, generator=draw.generator, dtype=torch.float64)
    table = torch.randn(B, 2 * H, mask.queries, mask.keys, generator=draw.generator, dtype=torch.float64)
    return [None, DistanceBias(slopes), table, table[:1, :1]][draw(0, 3)]


@pytest.mark.parametrize("seed", range(80))
def test_any_mask_equals_the_specification(seed):
    draw = Draw(1000 + seed)
    mask, groups = any_mask(draw), [1, 2, 4][draw(0, 2)]
    shift = torch.randn(B, [1, 2 * H][draw(0, 1)], mask.queries) if draw(0, 1) else None
    assert_as_specified(mask, groups, any_bias(draw, mask), shift)


@pytest.mark.parametrize("case", cases(11), ids=lambda case: case.name)
def test_every_kind_of_mask_equals_the_specification(case):
    for pattern in (None, Window(2, 1, 1), BigBird(2, 1, 1, 2, 3)):
        mask = case.mask()
        if mask.pattern is None or pattern is None:
            assert_as_specified(mask.within(pattern), groups=2)


@pytest.mark.parametrize("pattern", [Window(3, 1, 0), BigBird(4, 1, 1, 2, 0)], ids=["window", "bigbird"])
def test_dropout_drops_the_same_in_the_backward(pattern):
    """With one-hot values, the output is the dropped weights; the gradient must be that of these very weights."""
    n = 24
    mask = Mask(n, n, pattern=pattern)
    q, k = (torch.randn(1, 2 * H, n, n, dtype=torch.float64) for _ in range(2))
    v = torch.eye(n, dtype=torch.float64).expand(1, 2 * H, n, n).contiguous()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    torch.manual_seed(3)
    weights = blocked.attend(q, k, v, mask, None, 0.3, None)
    plain = reference.probabilities(q, k, mask, None)
    kept = (weights / plain).nan_to_num(0).detach()
    assert set(kept.flatten().round(decimals=6).tolist()) == {0.0, round(1 / 0.7, 6)}
    grad = torch.randn_like(weights)
    expected = torch.autograd.grad(((plain * kept) @ v * grad).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad((weights * grad).sum(), leaves), expected, rtol=0, atol=1e-10)


def test_dropout_repeats_with_the_seed():
    mask, found = Mask(20, 20, causal=True), []
    q, k, v = inputs(mask, 4, 2)
    for _ in range(2):
        torch.manual_seed(5)
        found.append(blocked.attend(q, k, v, mask, None, 0.5, None))
    assert torch.equal(*found)


@pytest.mark.parametrize("pattern", [Window(3, 1, 0), BigBird(4, 1, 1, 2, 0)], ids=["window", "bigbird"])
def test_autocast_computes_in_its_own_type(pattern):
    mask = Mask(32, 32, causal=True, pattern=pattern)
    q, k, v = (x.requires_grad_() for x in inputs(mask, 4, 2, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        out = blocked.attend(q, k, v, mask, None, 0.0, None)
    out.float().square().sum().backward()
    exact = reference.attend(q, k, v, mask, None, 0.0, None)
    assert out.dtype == torch.bfloat16
    assert q.grad.dtype == torch.float32
    assert (out - exact).abs().max() < 0.05


def test_an_infinite_key_behind_a_rows_end_is_not_read():
    mask = Mask(20, 20, lengths=torch.tensor([20, 7, 1]), pattern=Window(3, 1, 0))
    q, k, v = inputs(mask, 4, 2)
    k[1, :, 7:], v[1, :, 7:] = float("inf"), float("nan")
    out = blocked.attend(q, k, v, mask, None, 0.0, None)
    assert out[1].isfinite().all()


def test_a_trained_bias_is_left_to_others():
    bias = torch.zeros(1, 1, 4, 4, requires_grad=True)
    assert "attention.kernel=sdpa" in blocked.why_not(*inputs(Mask(4, 4), 4, 2)[:2], Mask(4, 4), bias, None)
