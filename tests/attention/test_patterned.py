"""Attentions with a pattern, made small enough that it hides something: what decoding and batching owe then, too."""

import pytest
import torch

from manyheads.attention import load
from manyheads.attention.base import Attention
from manyheads.attention.mask import Mask
from manyheads.model.layers import CrossAttention

HEADS, D, N, B = 4, 8, 40, 3
SMALL = {
    "sliding_window": {"width": 4, "dilation": 1, "globals": 0},
    "dilated": {"width": 3, "dilation": 3, "globals": 2},
    "bigbird": {"block": 4, "window": 1, "globals": 1, "random": 2, "seed": 1},
}


def made(name: str, layer: int = 0, **overrides) -> Attention:
    yaml = "sliding_window" if name == "dilated" else name
    return load(yaml, HEADS, D, layer, kv_heads=2, pattern=SMALL[name], **overrides).double().eval()


def tensors(n: int = N) -> list[torch.Tensor]:
    return [torch.randn(B, heads, n, D, dtype=torch.float64) for heads in (HEADS, 2, 2)]


pytestmark = pytest.mark.parametrize("name", SMALL)


@pytest.mark.parametrize("kernel", ["any", "blocked", "sdpa", "reference"])
def test_step_by_step_equals_the_full_pass(name, kernel):
    attention, (q, k, v) = made(name, kernel=kernel), tensors()
    whole = attention.attend(q, k, v, Mask(N, N, causal=True))
    steps = [
        attention.attend(q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], Mask(1, i + 1, causal=True))
        for i in range(N)
    ]
    torch.testing.assert_close(torch.cat(steps, 2), whole)


@pytest.mark.parametrize("causal", [False, True])
def test_a_batch_equals_its_rows_one_by_one(name, causal):
    attention, lengths, (q, k, v) = made(name), torch.tensor([N, 22, 1]), tensors()
    together = attention.attend(q, k, v, Mask(N, N, causal=causal, lengths=lengths))
    for b, n in enumerate(lengths.tolist()):
        alone = attention.attend(*(x[b : b + 1, :, :n] for x in (q, k, v)), Mask(n, n, causal=causal))
        torch.testing.assert_close(together[b : b + 1, :, :n], alone)


def test_rows_that_stand_at_different_places_of_their_caches(name):
    attention, start, (q, k, v) = made(name), torch.tensor([30, 11, 0]), tensors()
    whole = attention.attend(q, k, v, Mask(N, N, causal=True))
    own = q[torch.arange(B), :, start].unsqueeze(2)
    step = attention.attend(own, k, v, Mask(1, N, causal=True, lengths=start + 1, offset=start))
    torch.testing.assert_close(step[:, :, 0], whole[torch.arange(B), :, start])


def test_across_sequences_every_key_is_seen(name):
    q, k, v = tensors()
    found = made(name).attend(q[:, :, :7], k, v, Mask(7, N, cross=True))
    torch.testing.assert_close(found, load("dense", HEADS, D, kv_heads=2).attend(q[:, :, :7], k, v, Mask(7, N)))


def test_cross_attention_of_a_model_is_not_restricted(name):
    layer = CrossAttention(32, HEADS, D, 0, lambda **size: made(name), bias=False).double()
    x, context = torch.randn(B, 5, 32, dtype=torch.float64), torch.randn(B, N, 32, dtype=torch.float64)
    context.requires_grad_()
    out = layer(x, context, Mask(5, N, cross=True), None)
    (grad,) = torch.autograd.grad(out[:, 0].square().sum(), context)
    assert (grad.abs().amax(-1) > 0).all()


def test_only_what_the_pattern_allows_is_read(name):
    attention, (q, k, v) = made(name), tensors()
    seen = Mask(N, N, pattern=attention.pattern).dense(HEADS, torch.device("cpu"))
    v.requires_grad_()
    out = attention.attend(q, k, v, Mask(N, N))
    for h, i in ((0, 20), (3, 39), (2, 0)):
        (grad,) = torch.autograd.grad(out[0, h, i].sum(), v, retain_graph=True)
        read = grad[0, h // 2].abs().amax(-1) > 0
        assert torch.equal(read, seen.expand(1, HEADS, N, N)[0, h, i])
