import math

import pytest
import torch

from manyheads.errors import UserError
from manyheads.training.schedules import Constant, Cosine, InverseSqrt


def rates(make, steps, peak=2.0):
    """The learning rate of each step, as an optimizer really sees it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule, seen = make(optimizer), []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warm_up_is_linear_and_reaches_the_peak():
    for make in (
        lambda o: InverseSqrt(o, None, 10),
        lambda o: Cosine(o, 100, 10, 0.1),
        lambda o: Constant(o, None, 10),
    ):
        assert rates(make, 10) == pytest.approx([2.0 * step / 10 for step in range(1, 11)])


def test_inverse_sqrt_after_the_warm_up():
    seen = rates(lambda o: InverseSqrt(o, None, 10), 400)
    assert seen[39] == pytest.approx(2.0 * math.sqrt(10 / 40))
    assert seen[399] == pytest.approx(2.0 * math.sqrt(10 / 400))


def test_cosine_ends_at_its_floor_and_is_half_way_in_the_middle():
    seen = rates(lambda o: Cosine(o, 110, 10, 0.1), 130)
    assert seen[60] == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert seen[110] == pytest.approx(0.2)
    assert seen[129] == pytest.approx(0.2)


def test_constant_stays():
    assert set(rates(lambda o: Constant(o, None, 10), 50)[10:]) == {2.0}


def test_without_warm_up_the_first_step_has_the_peak():
    assert rates(lambda o: InverseSqrt(o, None, 0), 1) == [2.0]


def test_cosine_has_to_know_its_end():
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        rates(lambda o: Cosine(o, None, 10, 0.1), 1)
