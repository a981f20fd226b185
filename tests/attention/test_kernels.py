"""Every exact kernel against loops in float64 (`oracle`): outputs and all gradients, over masks × groups × biases."""

import pytest
import torch
from oracle import Case, attention, cases

from manyheads.attention.bias import DistanceBias
from manyheads.attention.kernels.registry import DENSE, SPARSE, find, names
from manyheads.errors import UserError
from manyheads.position.alibi import slopes

B, H, D = 3, 4, 6
ONE = torch.ones(1, 1, 1, 1, dtype=torch.float64)
KERNELS = [name for name in names() if find(name).why_not(ONE, ONE, Case("", 1, 1).mask(), None, None) is None]
GROUPS = [1, 2, H]
BIASES = ["no-bias", "distance", "tensor"]
RULES = ["softmax", "sigmoid"]


def inputs(case: Case, groups: int, dtype=torch.float64) -> list[torch.Tensor]:
    shapes = [(B, H, case.queries, D), (B, groups, case.keys, D), (B, groups, case.keys, D)]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def biases(kind: str, case: Case) -> tuple:
    """What the package is given, what the oracle is given, and which of it has gradients."""
    if kind == "distance":
        slope = slopes(H).double()
        return DistanceBias(slope), lambda b, h, i, j: -slope[h] * abs(case.position(b, i) - j), []
    if kind == "tensor":
        table = torch.randn(B, H, case.queries, case.keys, dtype=torch.float64, requires_grad=True)
        return table, lambda b, h, i, j: table[b, h, i, j], [table]
    return None, None, []


def shifts(rule: str, case: Case) -> torch.Tensor | None:
    """None for softmax; for sigmoid what is added to the scores of each query."""
    return None if rule == "softmax" else torch.randn(B, H, case.queries, dtype=torch.float64)


def run(name: str, case: Case, q, k, v, bias, shift) -> torch.Tensor | None:
    """The kernel's answer, or None where it says why it cannot."""
    mask = case.mask()
    if find(name).why_not(q, k, mask, bias, shift) is not None:
        return None
    return find(name).attend(q, k, v, mask, bias, 0.0, shift)


def check(case: Case, groups: int, kind: str, rule: str = "softmax") -> None:
    """All kernels give the oracle's output and gradients."""
    q, k, v = inputs(case, groups)
    given, told, trained = biases(kind, case)
    shift, wanted = shifts(rule, case), [q, k, v, *trained]
    expected = attention(case, q, k, v, told, shift)
    weights = torch.randn_like(expected)
    # Where nobody sees anything, nothing depends on anything.
    gradients = torch.autograd.grad((expected * weights).sum() + 0 * sum(x.sum() for x in wanted), wanted)
    for name in KERNELS:
        found = run(name, case, q, k, v, given, shift)
        if found is None:
            continue
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
        mine = torch.autograd.grad((found * weights).sum() + 0 * sum(x.sum() for x in wanted), wanted)
        for what, one, other in zip("qkvb", mine, gradients, strict=False):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10, msg=lambda m, at=(name, what): f"{at}: {m}")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("case", cases(5), ids=lambda case: case.name)
def test_outputs_and_gradients_equal_the_loops(case, groups, kind, rule):
    check(case, groups, kind, rule)


@pytest.mark.parametrize("n", [1, 7, 17])
def test_odd_lengths_equal_the_loops(n):
    for case in cases(n)[::3]:
        for rule in RULES:
            check(case, 2, "distance", rule)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("n", [1, 7, 17])
def test_the_whole_grid_equals_the_loops(n, groups, kind):
    for case in cases(n):
        for rule in RULES:
            check(case, groups, kind, rule)


def plain(q, k, v, case: Case, bias: torch.Tensor) -> torch.Tensor:
    """Attention as anyone writes it in torch, in the dtype of its inputs."""
    share = q.size(1) // k.size(1)
    k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
    grid = [
        [[[case.sees(b, h, i, j) for j in range(case.keys)] for i in range(case.queries)] for h in range(H)]
        for b in range(B)
    ]
    seen = torch.tensor(grid)
    scores = (q @ k.mT / D**0.5 + bias).masked_fill(~seen, torch.finfo(q.dtype).min)
    return scores.softmax(-1).masked_fill(~seen.any(-1, keepdim=True), 0) @ v


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", cases(17), ids=lambda case: case.name)
def test_at_most_twice_as_far_from_float64_as_plain_torch(case, dtype, trained):
    q, k, v = (x.detach().requires_grad_(trained) for x in inputs(case, 2, dtype))
    bias = torch.randn(B, H, case.queries, case.keys).to(dtype)
    exact = plain(*(x.double() for x in (q, k, v)), case, bias.double())
    allowance = 2 * (plain(q, k, v, case, bias).double() - exact).abs().max()
    # Where plain torch happens to be exact, one unit in the last place is still allowed.
    allowance += torch.finfo(dtype).eps * exact.abs().max()
    for name in KERNELS:
        found = run(name, case, q, k, v, bias, None)
        if found is None:
            continue
        assert found.dtype == dtype
        assert (found.double() - exact).abs().max() <= allowance, name


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("case", cases(5), ids=lambda case: case.name)
def test_gradcheck(case, name):
    q, k, v = (x.detach()[..., :2].contiguous().requires_grad_() for x in inputs(case, 2))
    mask = case.mask()
    assert torch.autograd.gradcheck(
        lambda *qkv: find(name).attend(*qkv, mask, None, 0.0, None), (q, k, v), fast_mode=True, atol=1e-6
    )


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("groups", GROUPS)
def test_query_head_reads_its_own_group(name, groups):
    """Head i reads group ⌊i·g/h⌋: neighbours share. (`tile` would give group i mod g.)"""
    q, k = torch.randn(1, H, 3, D), torch.randn(1, groups, 3, D)
    v = torch.arange(groups, dtype=torch.float32).view(1, groups, 1, 1).expand(1, groups, 3, D).contiguous()
    out = find(name).attend(q, k, v, Case("", 3, 3).mask(), None, 0.0, None)
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([float(i * groups // H) for i in range(H)]))


@pytest.mark.parametrize("name", KERNELS)
def test_queries_that_see_nothing_give_zero_and_no_gradient(name):
    case = Case("", 3, 3, lengths=[0, 3, 0])
    for kind in BIASES:
        q, k, v = inputs(case, 2)
        given, _, trained = biases(kind, case)
        out = run(name, case, q, k, v, given, None)
        if out is None:
            continue
        out.sum().backward()
        assert out[0].eq(0).all()
        assert out[1].ne(0).any()
        for x in (q, k, v, *trained):
            assert x.grad.isfinite().all()
            assert x.grad[[0, 2]].eq(0).all()


@pytest.mark.parametrize("name", KERNELS)
def test_keys_that_nobody_sees_get_no_gradient(name):
    case = Case("", 5, 5, causal=True, lengths=[2, 5, 1])
    q, k, v = inputs(case, 2)
    find(name).attend(q, k, v, case.mask(), None, 0.0, None).square().sum().backward()
    for x in (k, v):
        assert x.grad[0, :, 2:].eq(0).all()
        assert x.grad[0, :, :2].ne(0).any()


@pytest.mark.parametrize("name", KERNELS)
def test_dropout_keeps_the_mean(name):
    q, k, v = torch.randn(1, 1, 1, D), torch.randn(1, 1, 4, D), torch.randn(1, 1, 4, D)
    draws = 20_000
    mask = Case("", 1, 4).mask()
    many = find(name).attend(*(x.expand(draws, 1, -1, D) for x in (q, k, v)), mask, None, 0.3, None)
    once = find(name).attend(q, k, v, mask, None, 0.0, None)
    error = many.std(0) / draws**0.5
    assert many.std(0).min() > 0
    assert ((many.mean(0) - once[0]).abs() < 5 * error).all()


@pytest.mark.parametrize("name", KERNELS)
def test_a_mask_keeps_biases_apart(name):
    """Masks remember the dense form of a bias; another bias, even a short-lived one, must not be taken for it."""
    case = Case("", 5, 5, causal=True)
    q, k, v = (x.detach() for x in inputs(case, H))
    mask, steepness = case.mask(), [slopes(H).double() * factor for factor in (1, 2, 3, 4)]
    shared = [find(name).attend(q, k, v, mask, DistanceBias(slope), 0.0, None) for slope in steepness]
    alone = [find(name).attend(q, k, v, case.mask(), DistanceBias(slope), 0.0, None) for slope in steepness]
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-12)


def test_an_unknown_kernel_is_told_the_known_ones():
    with pytest.raises(UserError, match=r"attention\.kernel=flahs .*reference, sdpa"):
        find("flahs")


def test_whatever_takes_over_exists_and_the_last_one_never_refuses():
    for order in (DENSE, SPARSE):
        assert set(order) <= set(names())
        assert order[-1] == "reference"
