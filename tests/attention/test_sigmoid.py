import pytest
import torch
from oracle import Case, attention, cases

from manyheads.attention import load
from manyheads.attention.mask import Mask
from manyheads.errors import UserError

B, H, D = 3, 4, 6


def tensors(n: int, m: int) -> list[torch.Tensor]:
    return [torch.randn(B, H, n, D, dtype=torch.float64), *torch.randn(2, B, H, m, D, dtype=torch.float64)]


@pytest.mark.parametrize("kernel", ["reference", "blocked"])
@pytest.mark.parametrize("case", cases(7), ids=lambda case: case.name)
def test_shifts_by_the_logarithm_of_the_keys_in_sight(case, kernel):
    q, k, v = tensors(case.queries, case.keys)
    seen = [
        [[sum(case.sees(b, h, i, j) for j in range(case.keys)) for i in range(case.queries)] for h in range(H)]
        for b in range(B)
    ]
    shift = -torch.tensor(seen).clamp(min=1).double().log()
    found = load("sigmoid", H, D, kernel=kernel).attend(q, k, v, case.mask())
    torch.testing.assert_close(found, attention(case, q, k, v, None, shift), rtol=0, atol=1e-6)


def test_a_given_count_holds_for_all_lengths():
    case = Case("", 5, 5, causal=True)
    q, k, v = tensors(5, 5)
    shift = -torch.full((B, H, 5), 64.0, dtype=torch.float64).log()
    found = load("sigmoid", H, D, count=64).attend(q, k, v, case.mask())
    torch.testing.assert_close(found, attention(case, q, k, v, None, shift), rtol=0, atol=1e-6)


def test_weights_sum_to_about_one_at_every_place():
    n = 512
    q, k = torch.randn(2, 1, 8, n, 64)
    ones = torch.ones(1, 8, n, 64)
    for causal in (False, True):
        mass = load("sigmoid", 8, 64).attend(q, k, ones, Mask(n, n, causal=causal))[..., 0]
        assert 0.5 < mass[:, :, 16:].mean() < 2.5
        assert mass[:, :, 16:].std() < 1


def test_a_count_below_one_is_refused():
    with pytest.raises(UserError, match=r"attention\.count=0 must be 1 or more"):
        load("sigmoid", H, D, count=0)
