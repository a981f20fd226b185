"""Performer against loops in float64; its directions, and that they are the same wherever they are drawn."""

import math
from functools import partial

import pytest
import torch
from feature_oracle import FavorMap, attention
from oracle import Case, cases
from test_linear import check

from manyheads.attention.mask import Mask
from manyheads.attention.performer import Performer, directions, generator
from manyheads.errors import UserError

B, H, D, F = 3, 4, 6, 5
FLOOR = 1e-2
GIVEN = {"heads": H, "head_dim": D, "layer": 0, "kv_heads": 2, "kernel": "chunked", "strict": True}
GIVEN |= {"eps": FLOOR, "chunk": 4, "features": F, "seed": 0, "redraw": None}


def performer(**changes) -> Performer:
    return Performer(**(GIVEN | changes)).double().eval()


def taken(n: int) -> list[Case]:
    return [case for case in cases(n) if performer().why_not(None, None, case.mask()) is None]


def inputs(case: Case, groups: int = 2, scale: float = 1.0) -> list[torch.Tensor]:
    shapes = [(B, H, case.queries, D), (B, groups, case.keys, D), (B, groups, case.keys, D)]
    return [(scale * torch.randn(shape, dtype=torch.float64)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("case", taken(7), ids=lambda case: case.name)
def test_equals_the_loops(kernel, case):
    for groups in (1, 2, H):
        q, k, v = inputs(case, groups)
        rule = performer(kernel=kernel, kv_heads=groups)
        expected = attention(case, q, k, v, FavorMap(rule.directions, FLOOR), 0.0)
        check(rule.attend(q, k, v, case.mask()), expected, [q, k, v])


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_every_length_around_a_chunk(n, causal, floor):
    """Keys of very different size: the stabiliser changes within chunks and between them."""
    case = Case("", n, n, causal, lengths=[n, max(1, n - 1), n // 2])
    q, k, v = inputs(case, scale=4.0)
    rule = performer(eps=floor)
    expected = attention(case, q, k, v, FavorMap(rule.directions, floor), 0.0)
    check(rule.attend(q, k, v, case.mask()), expected, [q, k, v])


@pytest.mark.slow
def test_gradients_of_small_steps():
    """Without a floor the stabilisers cancel, so these are the gradients of the whole function."""
    given = [x[:2] for x in inputs(Case("", 5, 5))]
    mask = Mask(5, 5, causal=True, lengths=torch.tensor([5, 3]))
    assert torch.autograd.gradcheck(lambda q, k, v: performer(eps=0.0, chunk=2).attend(q, k, v, mask), given)


def test_comes_close_to_softmax():
    """Its mean over many features is softmax attention (lemma 1)."""
    q, k, v = (x.detach() * 0.5 for x in inputs(Case("", 9, 9)))
    mask = Mask(9, 9, causal=True)
    found = performer(features=20000, eps=0.0).attend(q, k, v, mask)
    k, v = (x.repeat_interleave(2, 1) for x in (k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e2])
def test_large_keys_reach_nobody_before_them(size):
    """Not even by underflow: the future must not decide what the past is relative to."""
    q, k, v = (x.detach().float() for x in inputs(Case("", 9, 9)))
    attend = partial(performer().float().attend, mask=Mask(9, 9, causal=True))
    late = torch.where(torch.arange(9).view(-1, 1) > 5, k * 1e3, k * size)
    early = k * size
    assert torch.equal(attend(q, late, v)[:, :, :6], attend(q, early, v)[:, :, :6])
    assert attend(q, late, v).isfinite().all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e300])
def test_padding_may_hold_anything(causal, poison):
    lengths = torch.tensor([9, 4, 0])
    q, k, v = (x.detach() for x in inputs(Case("", 9, 9)))
    hidden = (torch.arange(9) >= lengths.unsqueeze(1)).view(B, 1, 9, 1)
    found = []
    for number in (0.0, poison):
        given = [x.masked_fill(hidden, number).requires_grad_() for x in (k, v)]
        out = performer().attend(q, *given, Mask(9, 9, causal=causal, lengths=lengths))
        found.append([out, *torch.autograd.grad(out.square().sum(), given)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert found[1][0][2].eq(0).all()


@pytest.mark.parametrize("causal", [True, False])
def test_bf16_is_as_close_as_its_inputs(causal):
    """At most twice as far from float64 as the definition on the same inputs, rounded to bf16."""
    case = Case("", 40, 40, causal)
    q, k, v = (x.detach().bfloat16() for x in inputs(case))
    exact = performer(kernel="reference").attend(*(x.double() for x in (q, k, v)), case.mask())
    found = performer(chunk=16).attend(q, k, v, case.mask())
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().max() <= 2 * (exact.bfloat16() - exact).abs().max()


def test_directions_are_orthogonal_in_blocks_and_as_long_as_gaussian_ones():
    w = directions(600, 8, generator(0, 0, 0))
    assert w.shape == (600, 8)
    block = w[8:16] @ w[8:16].T
    torch.testing.assert_close(block, block.diagonal().diag())
    assert w.square().sum(1).mean() == pytest.approx(8, rel=0.1)
    torch.testing.assert_close(w.mean(0), torch.zeros(8).double(), rtol=0, atol=0.2)


def test_directions_depend_on_seed_and_layer_alone():
    torch.manual_seed(1)
    first = performer().directions
    torch.manual_seed(2)
    assert torch.equal(first, performer().directions)
    assert not torch.allclose(first, performer(seed=1).directions)
    assert not torch.allclose(first, performer(layer=1).directions)


def test_as_many_features_as_orthogonality_needs():
    assert performer(features=None, head_dim=64).directions.shape == (int(64 * math.log(64)), 64)
    assert performer(features=None, head_dim=1).directions.shape == (1, 1)


def passes(rule: Performer, count: int) -> list[torch.Tensor]:
    q, k, v = (x.detach() for x in inputs(Case("", 3, 3)))
    used = []
    for _ in range(count):
        rule.attend(q, k, v, Mask(3, 3))
        used.append(rule.directions)
    return used


def test_directions_are_drawn_anew_in_training_alone():
    used = passes(performer(redraw=2).train(), 6)
    assert all(torch.equal(used[at], used[at + 1]) for at in (0, 2, 4))
    assert not any(torch.allclose(used[at], used[at + 1]) for at in (1, 3))
    assert torch.equal(used[0], performer().directions)
    for still in (performer(redraw=1), performer().train()):
        assert all(torch.equal(w, used[0]) for w in passes(still, 3))


def test_resuming_draws_what_an_uninterrupted_run_draws():
    whole = passes(performer(redraw=2).train(), 7)
    first, second = (performer(redraw=2).train() for _ in range(2))
    used = passes(first, 3)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(*pair) for pair in zip(whole, used + passes(second, 4), strict=True))


def test_a_pass_keeps_the_directions_it_began_with():
    """Drawn anew between forward and backward, as when two passes are added up."""
    rule, given = performer(redraw=1).train(), inputs(Case("", 5, 5))
    expected = torch.autograd.grad(performer().attend(*given, Mask(5, 5)).square().sum(), given)
    out = rule.attend(*given, Mask(5, 5)).square().sum()
    passes(rule, 2)
    assert all(torch.equal(*pair) for pair in zip(torch.autograd.grad(out, given), expected, strict=True))


@pytest.mark.parametrize("key", ["features", "redraw"])
def test_impossible_numbers_are_refused(key):
    with pytest.raises(UserError, match=rf"attention\.{key}=0 must be 1 or more"):
        performer(**{key: 0})
