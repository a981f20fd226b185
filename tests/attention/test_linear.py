"""Linear attention against loops in float64, every kernel of the rule, over masks × groups × chunks."""

import pytest
import torch
from feature_oracle import EluMap, attention
from oracle import Case, cases

from manyheads.attention.kernels.linear.registry import find
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.errors import UserError

B, H, D = 3, 4, 6
EPS = 1e-3
KERNELS = ["reference", "chunked"]
kernels = pytest.mark.parametrize("kernel", KERNELS)


def linear(kernel: str = "chunked", groups: int = 2, chunk: int = 4, eps: float = EPS, **changes) -> Linear:
    given = {"heads": H, "head_dim": D, "layer": 0, "strict": True} | changes
    return Linear(**given, kv_heads=groups, kernel=kernel, eps=eps, chunk=chunk)


def taken(n: int) -> list[Case]:
    """The masks that the rule takes."""
    return [case for case in cases(n) if linear().why_not(None, None, case.mask()) is None]


def inputs(case: Case, groups: int, dtype=torch.float64) -> list[torch.Tensor]:
    shapes = [(B, H, case.queries, D), (B, groups, case.keys, D), (B, groups, case.keys, D)]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def check(found: torch.Tensor, expected: torch.Tensor, given: list[torch.Tensor]) -> None:
    """Values and all gradients are the same."""
    torch.testing.assert_close(found, expected)
    asked = torch.randn_like(found)
    pair = [torch.autograd.grad(out, given, asked) for out in (found, expected)]
    for ours, theirs in zip(*pair, strict=True):
        torch.testing.assert_close(ours, theirs)


@kernels
@pytest.mark.parametrize("case", taken(7), ids=lambda case: case.name)
def test_equals_the_loops(kernel, case):
    for groups in (1, 2, H):
        q, k, v = inputs(case, groups)
        found = linear(kernel, groups).attend(q, k, v, case.mask())
        check(found, attention(case, q, k, v, EluMap(), EPS), [q, k, v])


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 9, 31, 33])
@pytest.mark.parametrize("causal", [True, False])
def test_every_length_around_a_chunk(n, causal):
    case = Case("", n, n, causal, lengths=[n, max(1, n - 1), n // 2])
    q, k, v = inputs(case, 2)
    check(linear().attend(q, k, v, case.mask()), attention(case, q, k, v, EluMap(), EPS), [q, k, v])


@pytest.mark.parametrize("chunk", [1, 2, 3, 16])
def test_the_size_of_a_chunk_changes_nothing(chunk):
    for case in taken(10):
        q, k, v = inputs(case, 2)
        check(linear(chunk=chunk).attend(q, k, v, case.mask()), linear(chunk=5).attend(q, k, v, case.mask()), [q, k, v])


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_small_steps(causal):
    given = [x[:2] for x in inputs(Case("", 5, 5), 2)]
    mask = Mask(5, 5, causal=causal, lengths=torch.tensor([5, 3]))
    assert torch.autograd.gradcheck(lambda q, k, v: linear(chunk=2).attend(q, k, v, mask), given)


@kernels
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e300])
def test_padding_may_hold_anything(kernel, causal, poison):
    lengths = torch.tensor([9, 4, 0])
    q, k, v = (x.detach() for x in inputs(Case("", 9, 9), 2))
    hidden = (torch.arange(9) >= lengths.unsqueeze(1)).view(B, 1, 9, 1)
    found = []
    for number in (0.0, poison):
        given = [x.masked_fill(hidden, number).requires_grad_() for x in (k, v)]
        out = linear(kernel).attend(q, *given, Mask(9, 9, causal=causal, lengths=lengths))
        found.append([out, *torch.autograd.grad(out.square().sum(), given)])
    for clean, poisoned in zip(*found, strict=True):
        assert torch.equal(clean, poisoned)
    assert all(grad.masked_select(hidden).eq(0).all() for grad in found[1][1:])


@kernels
def test_what_sees_nothing_reads_zeros_with_zero_gradients(kernel):
    for case in [c for c in taken(6) if c.name in ("empty-row", "causal+empty-row", "more-queries-than-keys")]:
        q, k, v = inputs(case, 2)
        out = linear(kernel, eps=0.0).attend(q, k, v, case.mask())
        blind = ~case.mask().dense(1, q.device).any(-1).expand(B, H, case.queries)
        assert blind.any()
        assert out[blind].eq(0).all()
        grads = torch.autograd.grad(out.square().sum(), [q, k, v])
        assert grads[0][blind].eq(0).all()
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("causal", [True, False])
def test_low_precision_is_as_close_as_the_definition_in_it(dtype, causal):
    """At most twice as far from float64 as sums of every pair in the same type."""
    case = Case("", 40, 40, causal)
    q, k, v = (x.detach().to(dtype) for x in inputs(case, 2))
    exact = linear("reference").attend(*(x.double() for x in (q, k, v)), case.mask())
    weights = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).repeat_interleave(2, 1).mT
    weights = weights.tril() if causal else weights
    plain = weights @ v.repeat_interleave(2, 1) / (weights.sum(-1, keepdim=True) + EPS)
    found = linear(chunk=16).attend(q, k, v, case.mask())
    assert found.dtype == dtype
    assert (found - exact).abs().max() <= 2 * (plain - exact).abs().max() + 1e-9


def test_gradients_come_in_the_type_of_their_input():
    given = inputs(Case("", 9, 9), 2, torch.bfloat16)
    out = linear().attend(*given, Mask(9, 9, causal=True))
    expected = linear("reference").attend(*(x.double() for x in given), Mask(9, 9, causal=True))
    pairs = zip(*(torch.autograd.grad(o.sum(), given) for o in (out, expected)), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_any_strides_will_do():
    case = Case("", 9, 9, True)
    given = [x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in inputs(case, 2)]
    check(linear().attend(*given, case.mask()), attention(case, *given, EluMap(), EPS), given)


def test_autocast_lowers_nothing():
    q, k, v = inputs(Case("", 9, 9), 2, torch.float32)
    plain = linear().attend(q, k, v, Mask(9, 9, causal=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear().attend(q, k, v, Mask(9, 9, causal=True)), plain)


@pytest.mark.parametrize(
    ("mask", "bias", "reason"),
    [
        (Mask(3, 3), torch.zeros(1), "position=rope"),
        (Case("", 3, 3, pattern=lambda h, i, j: i >= j).mask(), None, "attention=dense"),
        (Mask(3, 3, documents=torch.tensor([[0, 0, 1]])), None, "a row of its own"),
        (Mask(3, 3, causal=True, documents=torch.tensor([[0, 1, 0]])), None, "in one piece"),
    ],
)
def test_says_why_not(mask, bias, reason):
    q, k, v = torch.randn(3, 1, H, 3, D)
    assert reason in linear(groups=None).why_not(q, k, mask, bias)
    with pytest.raises(UserError, match=reason):
        linear(groups=None).attend(q, k, v, mask, bias)


def test_an_unknown_kernel_is_refused_when_built():
    with pytest.raises(UserError, match=r"attention\.kernel=nosuch"):
        linear("nosuch")


def test_hands_over_within_the_rule_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(find("chunked"), "why_not", lambda *_: "attention.kernel=chunked needs a Tuesday.")
    handing, (q, k, v) = linear(strict=False), torch.randn(3, 1, H, 3, D)
    found = [handing.attend(q, k[:, :2], v[:, :2], Mask(3, 3)) for _ in range(2)]
    assert torch.equal(*found)
    assert [handing.used != "linear:chunked", len(caplog.messages)] == [True, 1]
    with pytest.raises(UserError, match="Tuesday"):
        linear(strict=True).attend(q, k[:, :2], v[:, :2], Mask(3, 3))


def test_any_kernel_on_a_cpu_is_none_that_an_interpreter_runs():
    attention, (q, k, v) = linear("any"), torch.randn(3, 1, H, 3, D)
    assert attention.why_not(q, k[:, :2], Mask(3, 3)) is None
    attention.attend(q, k[:, :2], v[:, :2], Mask(3, 3))
    assert attention.used == "linear:chunked"


def test_chunked_keeps_no_square():
    """What backward needs, beyond inputs, output and denominators, is at most a state per chunk."""
    n, kept = 512, []
    q, k, v = (torch.randn(1, 2, n, 8, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        out = linear(groups=2, chunk=32, heads=2, head_dim=8).attend(q, k, v, Mask(n, n, causal=True))
    states = [carry.sums.numel() for carry in out.grad_fn.carries]
    assert sum(kept) == 4 * q.numel() + q.numel() // 8
    assert 0 < sum(states) <= n // 32 * 2 * 8 * 9
