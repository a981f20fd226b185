import cmath

import pytest
import torch

from manyheads.errors import UserError
from manyheads.position.rope import Rope
from manyheads.position.scaling import Scaling

D, HEADS, GROUPS = 8, 4, 2


def rope(scaling: str = "none", factor: float = 1.0, head_dim: int = D) -> Rope:
    more = {"original": None, "fast": 32.0, "slow": 1.0}
    return Rope(HEADS * head_dim, HEADS, head_dim, base=10_000.0, scaling=scaling, factor=factor, **more)


def rates(head_dim: int, base: float, scaling: str, factor: float) -> torch.Tensor:
    return Scaling(scaling, factor, None, 32.0, 1.0).rates(head_dim, base)


def tensors(n: int, b: int = 1, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(b, HEADS, n, D, dtype=dtype), torch.randn(b, GROUPS, n, D, dtype=dtype)


def test_turns_pairs_like_complex_numbers():
    """Channels c and c + d/2 are one complex number, which turns by pos · 10000^(−2c/d)."""
    q, k = tensors(6)
    for x, turned in zip((q, k), rope().rotate(q, k, 3), strict=True):
        for h in range(x.size(1)):
            for t in range(6):
                for c in range(D // 2):
                    number = complex(x[0, h, t, c], x[0, h, t, c + D // 2])
                    number *= cmath.exp(1j * (3 + t) * 10_000 ** (-2 * c / D))
                    assert complex(turned[0, h, t, c], turned[0, h, t, c + D // 2]) == pytest.approx(number, abs=1e-5)


def test_scores_know_only_distances():
    vector, other = torch.randn(2, D, dtype=torch.float64)
    q, k = vector.expand(1, HEADS, 20, D), other.expand(1, GROUPS, 20, D)
    q, k = rope().rotate(q, k, 0)
    scores = q[0, 0] @ k[0, 0].T
    for distance in range(-19, 20):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-5)
    assert len(scores[0].round(decimals=3).unique()) == 20


def test_keeps_norms():
    q, k = tensors(30)
    for x, turned in zip((q, k), rope().rotate(q, k, 17), strict=True):
        torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
        assert not torch.allclose(turned, x)


def test_position_zero_is_left_alone():
    q, k = tensors(1)
    assert all(torch.equal(one, other) for one, other in zip(rope().rotate(q, k, 0), (q, k), strict=True))


def test_a_later_start_is_a_slice_of_the_whole():
    scheme, (q, k) = rope(), tensors(12)
    whole = scheme.rotate(q, k, 0)
    for found, expected in zip(scheme.rotate(q[:, :, 5:], k[:, :, 5:], 5), whole, strict=True):
        torch.testing.assert_close(found, expected[:, :, 5:])


def test_rows_start_where_they_are_told_to():
    scheme, (q, k), starts = rope(), tensors(4, b=3), torch.tensor([0, 7, 2])
    found = scheme.rotate(q, k, starts)
    for b, start in enumerate(starts.tolist()):
        alone = rope().rotate(q[b : b + 1], k[b : b + 1], start)
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one[b : b + 1], other)


def test_what_one_call_remembers_does_not_reach_the_next():
    """Angles are kept between layers; another start, length or dtype must make new ones."""
    scheme = rope()
    for start, n, dtype in [(0, 4, torch.float64), (2, 4, torch.float64), (2, 3, torch.float64), (2, 3, torch.float32)]:
        q, k = tensors(n, dtype=dtype)
        for one, other in zip(scheme.rotate(q, k, start), rope().rotate(q, k, start), strict=True):
            assert one.dtype == dtype
            assert torch.equal(one, other)


def test_linear_scaling_puts_positions_closer_together():
    q, k = tensors(1)
    for position in (1, 5, 13):
        for one, other in zip(
            rope("linear", 4.0).rotate(q, k, 4 * position), rope().rotate(q, k, position), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_ntk_leaves_the_fastest_pair_and_stretches_the_slowest_by_the_factor():
    plain, stretched = rates(64, 10_000.0, "none", 1.0), rates(64, 10_000.0, "ntk", 8.0)
    assert float(stretched[0]) == float(plain[0]) == 1.0
    assert float(plain[-1] / stretched[-1]) == pytest.approx(8.0, rel=1e-4)
    ratio = plain / stretched
    assert (ratio.diff() > 0).all()


def test_rates_are_those_of_the_paper():
    torch.testing.assert_close(rates(4, 10_000.0, "none", 1.0), torch.tensor([1.0, 0.01]))


@pytest.mark.parametrize("start", [0, torch.tensor([0])], ids=["number", "rows"])
def test_trains_after_use_in_inference_mode(start):
    scheme, (q, k) = rope(), tensors(3)
    with torch.inference_mode():
        scheme.rotate(q, k, start)
    trained = q.clone().requires_grad_()
    turned, _ = scheme.rotate(trained, k, start)
    turned.square().sum().backward()
    torch.testing.assert_close(trained.grad, 2 * q)


def test_angles_are_exact_in_bf16():
    """Far positions stay apart: bf16 angles would merge them."""
    one = torch.ones(1, HEADS, 3, D, dtype=torch.bfloat16)
    far, _ = rope().rotate(one, one, 4000)
    exact, _ = rope().rotate(one.double(), one.double(), 4000)
    torch.testing.assert_close(far.double(), exact, rtol=0, atol=2e-2)


def test_an_odd_head_size_is_refused():
    with pytest.raises(UserError, match="must be even, not 5"):
        rope(head_dim=5)


def test_a_factor_without_a_scaling_is_refused():
    with pytest.raises(UserError, match=r"position\.factor=2.*position\.scaling="):
        rope(factor=2.0)


def test_has_no_state():
    assert not rope().state_dict()
