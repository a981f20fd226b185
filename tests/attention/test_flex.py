"""What FlexAttention is told: on CPUs by its plain form, values alone; compiled with gradients on GPUs."""

import pytest
import torch
from oracle import cases
from torch.nn.attention.flex_attention import flex_attention

from manyheads.attention import load
from manyheads.attention.bias import DistanceBias
from manyheads.attention.kernels import flex, reference
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.window import Window
from manyheads.errors import UserError

B, H, G, D = 3, 4, 2, 16
BIASES = {"none": None, "distance": DistanceBias(torch.rand(H)), "tensor": torch.randn(1, H, 1, 1)}


def inputs(mask: Mask, device: str = "cpu") -> list[torch.Tensor]:
    shapes = [(B, H, mask.queries, D), (B, G, mask.keys, D), (B, G, mask.keys, D)]
    return [torch.randn(shape, device=device) for shape in shapes]


PATTERNS = {"full": None, "window": Window(2, 2, 1), "bigbird": BigBird(4, 1, 1, 2, 0)}


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("pattern", "bias"), [("full", "tensor"), ("window", "none"), ("bigbird", "distance")])
def test_it_is_told_the_mask_and_the_bias(pattern, bias):
    told(cases(19)[1::6], pattern, bias)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_is_told_every_mask_and_bias(pattern, bias):
    told(cases(19), pattern, bias)


def told(some, pattern, bias):
    pattern = PATTERNS[pattern]
    for case in some:
        mask = case.mask()
        if pattern is None or mask.pattern is None:
            mask = mask.within(pattern)
        q, k, v = inputs(mask)
        found = flex.compute(flex_attention, q, k, v, mask, BIASES[bias])
        expected = reference.attend(q, k, v, mask, BIASES[bias], 0.0, None)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, msg=lambda m, at=case.name: f"{at}: {m}")


@pytest.mark.gpu
@pytest.mark.parametrize(
    "pattern", [None, Window(100, 1, 0), BigBird(64, 1, 1, 3, 0)], ids=["full", "window", "bigbird"]
)
def test_compiled_it_equals_the_specification(pattern):
    mask = Mask(1000, 1000, causal=True).within(pattern)
    qkv = [x.requires_grad_() for x in inputs(mask, "cuda")]
    answers = [kernel.attend(*qkv, mask, None, 0.0, None) for kernel in (flex, reference)]
    torch.testing.assert_close(*answers, rtol=0, atol=5e-3)
    grads = [torch.autograd.grad(out.square().sum(), qkv) for out in answers]
    torch.testing.assert_close(*grads, rtol=0, atol=5e-2)


def test_what_it_cannot_do_is_said():
    q, k, _ = inputs(Mask(5, 5))
    assert "needs a CUDA device, not cpu" in flex.why_not(q, k, Mask(5, 5), None, None)
    with pytest.raises(UserError, match=r"attention\.kernel=flex cannot drop weights"):
        load("dense", H, D, kernel="flex", dropout=0.1)
