"""The scalings of rotary positions, against their formulas written out with Python's own floats."""

import math

import pytest
import torch

from manyheads.errors import UserError
from manyheads.position.rope import Rope
from manyheads.position.scaling import Scaling

D, BASE, TRAINED = 32, 10_000.0, 512
CASES = [(kind, factor) for kind in ("linear", "ntk", "dynamic", "yarn") for factor in (1.0, 2.0, 4.0)]


def scaling(kind: str, factor: float = 1.0, original: int | None = TRAINED, fast: float = 32.0) -> Scaling:
    return Scaling(kind, factor, original, fast, 1.0)


def rope(kind: str, factor: float = 1.0, original: int | None = TRAINED) -> Rope:
    return Rope(2 * D, 2, D, base=BASE, scaling=kind, factor=factor, original=original, fast=32.0, slow=1.0)


def turned(scheme: Rope, n: int, start=0) -> torch.Tensor:
    q = torch.randn(1, 2, start + n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))[:, :, start:]
    return torch.stack(scheme.rotate(q, q, start))


def plainly(kind: str, s: float, n: int) -> list[float]:
    """METHODS: linear θ/s; ntk base·s^(d/(d−2)); dynamic base·(s·n/N − (s−1))^(d/(d−2)); yarn as its authors' code."""
    if kind == "ntk":
        return [(BASE * s ** (D / (D - 2))) ** (-2 * i / D) for i in range(D // 2)]
    if kind == "dynamic":
        longer = max(1.0, s * n / TRAINED - (s - 1))
        return [(BASE * longer ** (D / (D - 2))) ** (-2 * i / D) for i in range(D // 2)]
    plain = [BASE ** (-2 * i / D) for i in range(D // 2)]
    if kind == "linear":
        return [rate / s for rate in plain]
    at = [D * math.log(TRAINED / (turns * 2 * math.pi)) / (2 * math.log(BASE)) for turns in (32, 1)]
    low, high = max(math.floor(at[0]), 0), min(math.ceil(at[1]), D - 1)
    slowed = [min(1.0, max(0.0, (i - low) / (high - low))) for i in range(D // 2)]
    return [rate / s * part + rate * (1 - part) for rate, part in zip(plain, slowed, strict=True)]


@pytest.mark.parametrize("n", [100, TRAINED, 1500])
@pytest.mark.parametrize(("kind", "factor"), CASES)
def test_rates_are_the_formula(kind, factor, n):
    expected = torch.tensor(plainly(kind, factor, n), dtype=torch.float64)
    torch.testing.assert_close(scaling(kind, factor).rates(D, BASE, n).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["linear", "ntk", "dynamic", "yarn"])
def test_a_factor_of_one_changes_nothing_within_the_trained_length(kind):
    assert torch.equal(turned(rope(kind), 40), turned(rope("none"), 40))


def test_without_scaling_angles_are_to_the_bit_what_they_were():
    """The definition as it stood before there was any scaling."""
    rates = BASE ** (-torch.arange(0, D, 2, dtype=torch.float32) / D) / 1.0
    angles = torch.arange(7, 19, dtype=torch.float32).unsqueeze(-1) * rates
    angles = torch.cat((angles, angles), dim=-1)
    x = torch.randn(1, 2, 12, D, dtype=torch.float64)
    half = torch.cat((-x[..., D // 2 :], x[..., : D // 2]), dim=-1)
    expected = x * angles.cos().double() + half * angles.sin().double()
    assert torch.equal(rope("none").rotate(x, x, 7)[0], expected)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_yarn_keeps_fast_pairs_stretches_slow_ones_and_sharpens_the_scores(factor):
    plain, found = scaling("none").rates(D, BASE), scaling("yarn", factor).rates(D, BASE)
    turns = plain * TRAINED / (2 * math.pi)
    assert torch.equal(found[turns > 32], plain[turns > 32])
    torch.testing.assert_close(found[turns < 1], plain[turns < 1] / factor)
    q = torch.randn(1, 2, 1, D, dtype=torch.float64)
    grown, _ = rope("yarn", factor).rotate(q, q, 9)
    torch.testing.assert_close(grown.norm(dim=-1), q.norm(dim=-1) * (0.1 * math.log(factor) + 1))


def test_dynamic_is_plain_up_to_the_trained_length_and_slower_beyond_it():
    assert torch.equal(turned(rope("dynamic", 2.0, 16), 16), turned(rope("none"), 16))
    assert not torch.equal(turned(rope("dynamic", 2.0, 16), 17)[..., :16, :], turned(rope("none"), 17)[..., :16, :])


def test_dynamic_goes_on_from_a_cache_until_that_would_need_other_keys():
    scheme, whole = rope("dynamic", 2.0, 16), turned(rope("none"), 16)
    torch.testing.assert_close(turned(scheme, 6, start=10), whole[..., 10:, :])
    with pytest.raises(UserError, match=r"dynamic turns all 17 tokens anew.*position\.original=16.*yarn"):
        turned(scheme, 1, start=16)
    q = torch.randn(2, 2, 1, D)
    with pytest.raises(UserError, match="all 21 tokens anew"):
        scheme.rotate(q, q, torch.tensor([3, 20]))


@pytest.mark.parametrize("kind", ["none", "linear", "ntk", "yarn"])
def test_others_go_on_from_a_cache_as_far_as_one_likes(kind):
    scheme = rope(kind, 1.0 if kind == "none" else 4.0, 16)
    torch.testing.assert_close(turned(scheme, 1, start=40), turned(scheme, 41)[..., 40:, :])


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("none", {"factor": 2.0}, r"position\.factor=2.*position\.scaling="),
        ("linear", {"factor": 0.5}, r"position\.factor=0\.5 makes inputs no longer"),
        ("linear", {"factor": float("nan")}, "makes inputs no longer"),
        ("dynamic", {"original": None}, r"position\.scaling=dynamic.*position\.original"),
        ("yarn", {"original": 0}, r"position\.scaling=yarn.*position\.original"),
        ("yarn", {"fast": 1.0}, r"position\.fast=1\.0 must be more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_a_sentence(kind, changes, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        scaling(kind, **changes).check(D)
    assert str(refused.value).endswith(".")


def test_ntk_of_a_single_pair_is_refused():
    with pytest.raises(UserError, match="head size of 4, not 2"):
        scaling("ntk", 2.0).check(2)
