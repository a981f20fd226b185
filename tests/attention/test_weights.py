"""Rows of weights that are recomputed, against plain loops and against what the attention really reads."""

import feature_oracle
import oracle
import pytest
import torch
from every import HEAD_DIM, HEADS, attentions, build

from manyheads.attention import load, weights
from manyheads.attention.base import Attention
from manyheads.attention.bias import DistanceBias
from manyheads.attention.kernels.reference import probabilities
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.performer import Performer
from manyheads.attention.sigmoid import Sigmoid
from manyheads.errors import UserError

N, GROUPS = 7, 2
CASES = {case.name: case for case in oracle.cases(N)}
SMALL = {
    "sliding_window": {"width": 2, "dilation": 1, "globals": 1},
    "bigbird": {"block": 2, "window": 0, "globals": 1, "random": 1, "seed": 1},
}


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Rows here are several blocks of keys long."""
    monkeypatch.setattr(weights, "BLOCK", 3)


def tensors(n: int, m: int) -> list[torch.Tensor]:
    return [torch.randn(3, heads, length, HEAD_DIM).double() for heads, length in ((HEADS, n), (GROUPS, m))]


def spelled(attention: Attention, case: oracle.Case, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The weights by loops: what is read of values that are the keys' own numbers."""
    one_hot = torch.eye(case.keys).double().expand(3, GROUPS, -1, -1)
    if isinstance(attention, Performer):
        feature = feature_oracle.FavorMap(attention.directions, attention.floor)
        return feature_oracle.attention(case, q, k, one_hot, feature, 0.0)
    if isinstance(attention, Linear):
        return feature_oracle.attention(case, q, k, one_hot, feature_oracle.EluMap(), attention.eps)
    shift = None
    if isinstance(attention, Sigmoid):
        seen = oracle.attention(case, q * 0, k, one_hot, None).ne(0).sum(-1)
        shift = -seen.clamp(min=1).double().log()
    return oracle.attention(case, q, k, one_hot, None, shift)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", attentions())
def test_rows_are_what_loops_say_and_what_values_are_weighed_by(name, case):
    attention, mask = build(name), case.mask()
    if case.name.startswith("cross"):
        mask = Mask(case.queries, case.keys, lengths=mask.lengths, cross=True)
    if mask.pattern is not None and getattr(attention, "pattern", None) is not None:
        pytest.skip("it has a pattern of its own")
    (q, k), v = tensors(case.queries, case.keys), torch.randn(3, GROUPS, case.keys, HEAD_DIM).double()
    reason = attention.why_not(q, k, mask)
    if reason is not None:
        pytest.skip(reason)
    rows = torch.arange(case.queries)[::2].flip(0)
    found = attention.weights(q, k, mask, rows=rows)
    torch.testing.assert_close(found, spelled(attention, case, q, k)[:, :, rows])
    read = found @ v.repeat_interleave(HEADS // GROUPS, 1)
    torch.testing.assert_close(read, attention.attend(q, k, v, mask)[:, :, rows], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_weighed_outside_the_pattern(name, causal):
    attention = load(name, HEADS, HEAD_DIM, kv_heads=GROUPS, pattern=SMALL[name]).double().eval()
    q, k = tensors(11, 11)
    mask = Mask(11, 11, causal=causal, lengths=torch.tensor([11, 6, 0]))
    found = attention.weights(q, k, mask)
    seen = mask.within(attention.pattern).dense(HEADS, q.device).expand_as(found)
    assert found[~seen].eq(0).all()
    assert found[seen].gt(0).all()
    assert not seen.all()
    sums = found.sum(-1)
    torch.testing.assert_close(sums, seen.any(-1).double())
    assert sums[2].eq(0).all()


def test_weights_of_sigmoid_are_not_normalised():
    attention, (q, k) = build("sigmoid", count=2), tensors(N, N)
    assert attention.weights(q, k, Mask(N, N)).sum(-1).gt(1.5).any()


def biases() -> dict[str, torch.Tensor | DistanceBias]:
    slopes = torch.tensor([0.5, 0.25, 1.0, 2.0]).double()
    own = torch.tensor([3, 1])
    return {
        "alibi": DistanceBias(slopes),
        "of heads that are left": DistanceBias(slopes[own].repeat(2), (DistanceBias(slopes), own.repeat(2))),
        "all": torch.randn(3, HEADS, N, N).double(),
        "heads": torch.randn(HEADS, N, N).double(),
        "pairs": torch.randn(N, N).double(),
        "keys": torch.randn(1, N).double(),
    }


@pytest.mark.parametrize("offset", [None, torch.tensor([0, 1, 2])], ids=["same", "rows"])
@pytest.mark.parametrize("bias", biases())
def test_biases_are_added_as_the_specification_adds_them(bias, offset):
    (q, k), rows = tensors(N, N), torch.tensor([6, 2])
    mask, given = Mask(N, N, causal=True, offset=offset), biases()[bias]
    found = build("dense").weights(q, k, mask, given, rows)
    torch.testing.assert_close(found, probabilities(q, k, mask, given)[:, :, rows])


def test_half_precision_is_weighed_in_fp32():
    q, k = (x.bfloat16() for x in tensors(N, N))
    for name in ("dense", "sigmoid", "linear", "performer"):
        assert build(name).weights(q, k, Mask(N, N)).dtype == torch.float32


def test_large_scores_stay_finite():
    q, k = (x * 300 for x in tensors(N, N))
    found = build("dense").weights(q, k, Mask(N, N))
    torch.testing.assert_close(found.sum(-1), torch.ones(3, HEADS, N).double())


def test_a_rule_without_weights_says_so():
    class Strange(Attention):
        attend = why_not = None

    with pytest.raises(UserError, match="attention=strange has no `weights`"):
        Strange.weights(Strange.__new__(Strange), *tensors(N, N), Mask(N, N))
