"""Arithmetic by pattern and rule, against counts made pair by pair, and against torch's own where that sees all."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from manyheads.attention import Mask, load
from manyheads.attention.base import Attention
from manyheads.attention.kernels.registry import names
from manyheads.attention.performer import Performer
from manyheads.attention.work import flops
from manyheads.training.flops import Counter

CONF = Path(__file__).parents[2] / "conf" / "attention"
HEADS, GROUPS, D, N = 4, 2, 8, 13
LENGTHS = torch.tensor([13, 5, 1])
SMALL = {"sliding_window": {"width": 2}, "bigbird": {"block": 2, "random": 1}}
ATTENTIONS = sorted(file.stem for file in CONF.glob("*.yaml"))


@cache
def built(name: str, **changes: str) -> Attention:
    return load(name, HEADS, D, kv_heads=GROUPS, **changes)


def tensors(b: int = 3, n: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q, k, v = torch.randn(b, HEADS, n, D), torch.randn(b, GROUPS, n, D), torch.randn(b, GROUPS, n, D)
    return tuple(x.requires_grad_() for x in (q, k, v))


def plain_pairs(mask: Mask, lengths: list[int]) -> int:
    """Asked query by query."""
    found, keys = 0, torch.arange(mask.keys)
    for b, length in enumerate(lengths):
        for h in range(HEADS):
            for i in range(length):
                found += int(mask.allowed(*map(torch.tensor, (b, h, i)), keys).expand(mask.keys).sum())
    return found


def plain(attention: Attention, mask: Mask, lengths: list[int]) -> tuple[int, int]:
    """(forward, forward and backward)."""
    if not hasattr(attention, "feature"):
        forward = 4 * D * plain_pairs(mask.within(attention.pattern), lengths)
        return forward, 3 * forward
    features = attention.directions.size(0) if isinstance(attention, Performer) else D
    forward = trained = 0
    for length in lengths:
        for heads in (HEADS, GROUPS):  # queries read the sums, keys join them
            for _ in range(length * heads):
                forward += 2 * features * D
                trained += 3 * 2 * features * D
                if isinstance(attention, Performer):
                    forward += 2 * D * features
                    trained += 2 * 2 * D * features
    return forward, trained


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_attention_against_a_plain_count(name, causal):
    attention = built(name)
    if name in SMALL:
        attention = deepcopy(attention)
        attention.pattern = replace(attention.pattern, **SMALL[name])
    q, k, _ = tensors()
    mask = Mask(N, N, causal=causal, lengths=LENGTHS)
    found = tuple(flops(attention, q, k, mask, trained) for trained in (False, True))
    assert found == plain(attention, mask, LENGTHS.tolist())


def test_documents_read_themselves_alone_and_padding_counts_nothing():
    documents = torch.tensor([[0] * 6 + [1] * 4 + [-1] * 3])
    q, k, _ = tensors(1)
    pairs = HEADS * (6 * 7 // 2 + 4 * 5 // 2)
    assert flops(built("dense"), q, k, Mask(N, N, causal=True, documents=documents), False) == 4 * D * pairs


def test_between_two_sequences_every_query_counts():
    q, k, _ = tensors()
    mask = Mask(N, N, lengths=LENGTHS, cross=True)
    assert flops(built("sliding_window"), q, k, mask, False) == 4 * D * HEADS * N * int(LENGTHS.sum())


@pytest.mark.parametrize("kernel", [k for k in names() if k not in ("flash", "flex")])
@pytest.mark.parametrize("causal", [False, True])
def test_no_kernel_changes_what_a_step_counts(kernel, causal):
    model = OneLayer(built("dense", kernel=kernel))
    pairs = N * (N + 1) // 2 if causal else N * N
    with Counter(model).counting() as counter:
        model(torch.randn(3, N, HEADS * D, requires_grad=True), causal).backward()
    linear = 3 * 2 * 3 * N * HEADS * D * (HEADS + 2 * GROUPS) * D
    assert counter.total == linear + 3 * 4 * D * 3 * HEADS * pairs


class OneLayer(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.into = attention, nn.Linear(HEADS * D, (HEADS + 2 * GROUPS) * D)

    def forward(self, x: torch.Tensor, causal: bool = False) -> torch.Tensor:
        heads = self.into(x).unflatten(-1, (-1, D)).transpose(1, 2)
        q, k, v = heads.split((HEADS, GROUPS, GROUPS), 1)
        return self.attention.attend(q, k, v, Mask(N, N, causal=causal)).square().sum()


def test_where_torch_sees_all_it_says_the_same():
    model, x = OneLayer(built("dense", kernel="reference")), torch.randn(2, N, HEADS * D, requires_grad=True)
    with FlopCounterMode(display=False) as seen:
        model(x).backward()
    with Counter(model).counting() as counter:
        model(x).backward()
    assert counter.total == seen.get_total_flops()


def test_after_counting_the_attention_is_itself_again_and_gradients_were_right():
    model, x = OneLayer(built("dense", kernel="reference")), torch.randn(2, N, HEADS * D)
    model(x).backward()
    wanted = model.into.weight.grad.clone()
    model.into.weight.grad = None
    with Counter(model).counting():
        model(x).backward()
    assert torch.equal(model.into.weight.grad, wanted)
    assert "attend" not in vars(model.attention)


class Average(Attention):
    """Somebody's: nobody has counted it."""

    exact = True

    def attend(self, q, k, v, mask, bias=None):
        return (q @ k.transpose(-2, -1)) @ v / k.size(2)

    def why_not(self, q, k, mask, bias=None):
        return None


class Told(Average):
    def flops(self, q, k, mask, trained):
        return 7.0


def test_a_rule_that_nobody_counted_is_what_torch_sees_and_one_may_count_itself():
    x = torch.randn(2, N, HEADS * D, requires_grad=True)
    sizes = {"heads": HEADS, "head_dim": D, "layer": 0, "kv_heads": HEADS}
    linear = 3 * 2 * 2 * N * HEADS * D * 3 * HEADS * D
    for kind, attention in ((Average, 3 * 4 * D * 2 * HEADS * N * N), (Told, 7.0)):
        model = OneLayer(kind(**sizes))
        model.into = nn.Linear(HEADS * D, 3 * HEADS * D)
        model.forward = lambda x, model=model: _all_heads(model, x)
        with Counter(model).counting() as counter:
            model(x).backward()
        assert counter.total == linear + attention


def _all_heads(model: OneLayer, x: torch.Tensor) -> torch.Tensor:
    q, k, v = model.into(x).unflatten(-1, (-1, D)).transpose(1, 2).chunk(3, 1)
    return model.attention.attend(q, k, v, Mask(N, N)).sum()
