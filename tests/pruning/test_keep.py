"""What keeping some units leaves of a sublayer, against attention and neurons computed one by one."""

import math
from copy import deepcopy
from itertools import combinations

import pytest
import torch
from families import attention
from torch import nn
from torch.nn import functional as F

from manyheads.attention.mask import Mask
from manyheads.model.layers import Constant, CrossAttention, FeedForward, Residual, SelfAttention, SwiGLU
from manyheads.position.alibi import Alibi, slopes
from manyheads.position.none import NoPosition
from manyheads.pruning.keep import Cut, cuts, groups, keep

DIM, HEADS, D, N = 6, 4, 2, 5


def grown(module: nn.Module) -> nn.Module:
    for weight in module.double().parameters():
        nn.init.normal_(weight)
    return module


def residual(inner: nn.Module, pre_norm: bool = True) -> Residual:
    norm = nn.RMSNorm(DIM, eps=1e-6) if pre_norm else nn.LayerNorm(DIM)
    return grown(Residual(inner, norm, 0.0, pre_norm)).eval()


def heads(kind: type, kv_heads: int, bias: bool, pre_norm: bool = True) -> Residual:
    factory = attention("dense", f"attention.kv_heads={kv_heads}", "attention.kernel=reference")
    return residual(kind(DIM, HEADS, D, 0, factory, bias), pre_norm)


def plain(part, x, context, kept, bias=None):
    """softmax(q kᵀ / √d) v of each kept head alone, and the sum of what the last projection makes of each."""
    q, (k, v) = part.q(x).unflatten(-1, (HEADS, D)), part.kv(context).chunk(2, -1)
    k, v = (y.unflatten(-1, (-1, D)) for y in (k, v))
    out = torch.zeros(*x.shape[:-1], DIM, dtype=x.dtype)
    out = out if part.out.bias is None else out + part.out.bias
    for h in kept:
        g = h // (HEADS // k.size(2))
        scores = q[:, :, h] @ k[:, :, g].transpose(1, 2) / math.sqrt(D)
        scores = scores if bias is None else scores + bias[h]
        out = out + scores.softmax(-1) @ v[:, :, g] @ part.out.weight[:, h * D : (h + 1) * D].t()
    return out


def even(kept, kv_heads) -> bool:
    each = HEADS // kv_heads
    read = [sum(h // each == g for h in kept) for g in range(kv_heads)]
    return len({count for count in read if count}) == 1


SUBSETS = [kept for size in range(1, HEADS) for kept in combinations(range(HEADS), size)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_heads_that_stay_read_what_they_read_before(kv_heads, bias):
    """Every subset of heads; those that are not spread evenly over the key-value heads are refused."""
    x, context, whole = (
        torch.randn(2, N, DIM).double(),
        torch.randn(2, 3, DIM).double(),
        heads(CrossAttention, kv_heads, bias),
    )
    for kept in SUBSETS:
        small = deepcopy(whole)
        if not even(kept, kv_heads):
            with pytest.raises(ValueError, match="different numbers of query heads"):
                keep(small, kept)
            assert all(torch.equal(a, b) for a, b in zip(small.parameters(), whole.parameters(), strict=True))
            continue
        keep(small, kept)
        found = small.inner(x, context, Mask(N, 3, cross=True), None)
        torch.testing.assert_close(found, plain(whole.inner, x, context, kept), rtol=0, atol=1e-12)
        told(small.inner, kept, kv_heads)


def told(part, kept, kv_heads):
    """Everything that speaks of sizes."""
    read = sorted({h // (HEADS // kv_heads) for h in kept})
    assert (part.kept, part.units, part.of) == (kept, len(kept), HEADS)
    assert (part.attention.heads, part.attention.kv_heads, part.attention.head_dim) == (len(kept), len(read), D)
    assert f"heads={len(kept)}, kv_heads={len(read)}" in repr(part.attention)
    for linear, (rows, columns) in {
        part.q: (len(kept) * D, DIM),
        part.kv: (2 * len(read) * D, DIM),
        part.out: (DIM, len(kept) * D),
    }.items():
        assert linear.weight.shape == (linear.out_features, linear.in_features) == (rows, columns)
        assert f"in_features={columns}, out_features={rows}" in repr(linear)
        assert linear.bias is None or linear.bias.shape == (rows,)


def test_heads_keep_the_slopes_of_their_distance():
    x, position, whole = torch.randn(2, N, DIM).double(), Alibi(DIM, HEADS, D).double(), heads(SelfAttention, 4, False)
    distance = (torch.arange(N).view(-1, 1) - torch.arange(N)).abs()
    bias = -slopes(HEADS).double().view(-1, 1, 1) * distance
    for kept in SUBSETS:
        small = deepcopy(whole)
        keep(small, kept)
        found = small.inner(x, Mask(N, N), position, 0, None)
        torch.testing.assert_close(found, plain(whole.inner, x, x, kept, bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [SwiGLU, FeedForward])
def test_neurons_that_stay_say_what_they_said(kind):
    x, whole, kept = torch.randn(2, N, DIM).double(), residual(kind(DIM, 7)), (0, 2, 3, 6)
    small = deepcopy(whole)
    keep(small, kept)
    part, out = whole.inner, torch.zeros(2, N, DIM).double()
    for unit in kept:
        made = F.silu(part.gate(x)) * part.up(x) if kind is SwiGLU else F.relu(part.up(x))
        out = out + made[..., unit : unit + 1] * part.down.weight[:, unit]
    out = out if part.down.bias is None else out + part.down.bias
    torch.testing.assert_close(small.inner(x), out, rtol=0, atol=1e-12)
    assert (small.inner.down.in_features, small.inner.up.out_features, small.inner.kept) == (4, 4, kept)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_of_a_sublayer_without_units_its_last_bias_is_left(pre_norm):
    x, whole = torch.randn(2, N, DIM).double(), heads(SelfAttention, 2, True, pre_norm)
    small = deepcopy(whole)
    bias = small.inner.out.bias
    keep(small, ())
    assert isinstance(small.inner, Constant)
    assert small.inner.bias is bias
    wanted = x + bias if pre_norm else whole.norm(x + bias)
    torch.testing.assert_close(small(x, Mask(N, N), NoPosition(DIM, HEADS, D), 0, None), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("pre_norm", "units"), [(True, None), (False, None), (True, ()), (False, ())])
def test_of_one_that_is_gone_the_way_around_it_is_left(pre_norm, units):
    """A norm that nobody reads goes, too; without a bias, no units are no sublayer."""
    x, whole = torch.randn(2, N, DIM).double(), heads(SelfAttention, 2, False, pre_norm)
    small = deepcopy(whole)
    keep(small, units)
    assert small.inner is None
    assert len(list(small.parameters())) == (0 if pre_norm else 2)
    wanted = x if pre_norm else whole.norm(x)
    assert torch.equal(small(x, Mask(N, N), NoPosition(DIM, HEADS, D), 0, None), wanted)


def test_what_all_units_are_kept_of_stays_the_same_object():
    whole = heads(SelfAttention, 2, True)
    before = list(whole.parameters())
    keep(whole, range(HEADS))
    assert all(a is b for a, b in zip(before, whole.parameters(), strict=True))


def test_frozen_weights_stay_frozen():
    whole = heads(SelfAttention, 2, True)
    whole.inner.q.weight.requires_grad_(False)
    keep(whole, (0, 1))
    assert [p.requires_grad for p in (whole.inner.q.weight, whole.inner.q.bias, whole.inner.kv.weight)] == [
        False,
        True,
        True,
    ]


def test_keeping_twice_counts_in_the_units_of_the_beginning():
    x, context, whole = torch.randn(2, N, DIM).double(), torch.randn(2, 3, DIM).double(), heads(CrossAttention, 4, True)
    small = deepcopy(whole)
    keep(small, (0, 2, 3))
    keep(small, (1, 2))
    assert small.inner.kept == (2, 3)
    found = small.inner(x, context, Mask(N, 3, cross=True), None)
    torch.testing.assert_close(found, plain(whole.inner, x, context, (2, 3)), rtol=0, atol=1e-12)


def test_groups_are_those_that_are_read():
    part = heads(SelfAttention, 2, False).inner
    assert groups(part, (0, 1)) == (0,)
    assert groups(part, (1, 2)) == (0, 1)
    assert groups(part, (2, 3)) == (1,)
    with pytest.raises(ValueError, match=r"\{0: 2, 1: 1\}"):
        groups(part, (0, 1, 3))


def test_a_cut_takes_the_same_of_any_tensor_of_its_shape():
    part = heads(SelfAttention, 2, True).inner
    found = cuts(part, (2, 3))
    assert set(found) == {"q.weight", "q.bias", "kv.weight", "kv.bias", "out.weight"}
    moments = torch.arange(DIM * HEADS * D).view(DIM, HEADS * D)
    assert torch.equal(found["out.weight"].of(moments), moments[:, 2 * D :])
    assert torch.equal(found["kv.bias"].of(torch.arange(4 * D)), torch.tensor([2, 3, 6, 7]))
    assert torch.equal(Cut(None, torch.tensor([[5, 1]])).of(torch.arange(6).view(2, 3)), torch.tensor([[5, 1]]))
