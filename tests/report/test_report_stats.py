"""The tests against their definitions, written out."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from manyheads.report.stats import deviation, holm, interval, least_p, mean, paired, sign_flip, standard_error


def by_definition(differences):
    """The share of all patterns of signs at least as far from 0, in fractions, which round nothing."""
    exact = [Fraction(str(d)) for d in differences]
    seen = abs(sum(exact))
    sums = [abs(sum(s * d for s, d in zip(signs, exact, strict=True))) for signs in product((-1, 1), repeat=len(exact))]
    return sum(one >= seen for one in sums) / len(sums)


@pytest.mark.parametrize("count", range(1, 9))
def test_sign_flip_is_the_share_of_all_patterns(count):
    random = np.random.default_rng(count)
    for _ in range(5):
        # Of few digits, so that ties are there.
        values = [round(float(v), 1) for v in random.normal(0.3, 1, count)]
        assert sign_flip(values) == pytest.approx(by_definition(values), abs=1e-15)


@pytest.mark.parametrize("count", range(1, 8))
def test_all_of_one_sign_give_the_least_p(count):
    values = [0.1 * n for n in range(1, count + 1)]
    assert sign_flip(values) == sign_flip([-v for v in values]) == least_p(count) == 2 / 2**count


def test_three_seeds_cannot_give_less_than_a_quarter():
    assert sign_flip([1e6, 2e6, 3e6]) == 0.25


def test_no_difference_is_no_sign_of_one():
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([]) == 1.0
    assert sign_flip([1.0, 0.0, 0.0, 2.0]) == sign_flip([1.0, 2.0])


def test_drawn_patterns_come_close_to_all_of_them():
    values = list(np.random.default_rng(0).normal(0.25, 1, 16))
    bits = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    exact = np.mean(np.abs((2 * bits - 1) @ values) >= abs(sum(values)) - 1e-12)
    assert sign_flip(values) == pytest.approx(exact, abs=0.02)
    assert 0 < sign_flip([1.0] * 200) < 1e-3


def holm_by_definition(ps):
    """The p of a test is the least level at which Holm's procedure rejects it."""
    found = []
    for n in range(len(ps)):
        order = sorted(range(len(ps)), key=lambda k: ps[k])
        levels = [min(1.0, (len(ps) - rank) * ps[k]) for rank, k in enumerate(order)]
        found.append(max(levels[: order.index(n) + 1]))
    return found


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    for seed in range(10):
        ps = list(np.random.default_rng(seed).uniform(0, 1, 6) ** 2)
        assert holm(ps) == pytest.approx(holm_by_definition(ps))
        assert all(p <= corrected <= 1 for p, corrected in zip(ps, holm(ps), strict=True))
    assert holm([]) == []


def test_spread_by_its_formula():
    values = [1.0, 2.0, 4.0]
    middle = 7 / 3
    variance = sum((v - middle) ** 2 for v in values) / 2
    assert mean(values) == pytest.approx(middle)
    assert deviation(values) == pytest.approx(math.sqrt(variance))
    assert standard_error(values) == pytest.approx(math.sqrt(variance / 3))
    assert deviation([1.0]) is None
    assert standard_error([1.0]) is None


def test_interval_of_few_is_students():
    """4.303 is the 97.5 % quantile of Student's t with two degrees of freedom, as books have it."""
    values = [0.1, 0.4, 0.3]
    reach = 4.3027 * standard_error(values)
    assert interval(values) == pytest.approx((mean(values) - reach, mean(values) + reach), rel=1e-4)
    assert interval([0.5]) is None


@pytest.mark.parametrize("count", [2, 3, 30])
def test_interval_covers_as_often_as_it_says(count):
    random = np.random.default_rng(1)
    found = [interval(list(random.normal(0, 1, count))) for _ in range(1000)]
    assert 930 <= sum(low <= 0 <= high for low, high in found) <= 970


def test_pairs_are_those_that_both_have():
    assert paired({1: 0.5, 2: 0.75, 4: 1.0}, {2: 0.25, 1: 0.5, 3: 0.0}) == [0.0, 0.5]
