"""Windows on their own scale, and back."""

import pytest
import torch

from manyheads.model.revin import EPS, RevIN


@pytest.fixture
def revin():
    """Far from its start."""
    made = RevIN(3).double()
    with torch.no_grad():
        made.log_scale.copy_(torch.tensor([0.3, -0.5, 0.1]))
        made.shift.copy_(torch.tensor([-1.0, 2.0, 0.5]))
    return made


@pytest.fixture
def seen():
    return torch.rand(4, 9, 3) > 0.3


@pytest.fixture
def values(seen):
    return (5 + 3 * torch.randn(4, 9, 3, dtype=torch.float64)) * seen


def test_level_is_mean_and_biased_deviation_of_what_is_seen(values, seen):
    level = RevIN.level(values, seen)
    for b in range(4):
        for c in range(3):
            there = [float(values[b, t, c]) for t in range(9) if seen[b, t, c]]
            mean = sum(there) / len(there)
            variance = sum((x - mean) ** 2 for x in there) / len(there)
            assert level.mean[b, 0, c].item() == pytest.approx(mean)
            assert level.std[b, 0, c].item() == pytest.approx((variance + EPS) ** 0.5)


def test_starts_as_the_plain_normalisation(values, seen):
    made, level = RevIN(3).double(), RevIN.level(values, seen)
    plain = torch.where(seen, (values - level.mean) / level.std, 0)
    torch.testing.assert_close(made.normal(values, seen, level), plain)


def test_back_again(revin, values):
    everything = torch.ones_like(values, dtype=torch.bool)
    level = revin.level(values, everything)
    there = revin.normal(values, everything, level).unsqueeze(-1)
    torch.testing.assert_close(revin.restored(there, level).squeeze(-1), values)


def test_quantiles_stay_in_order_whatever_is_learned(revin, values, seen):
    level = revin.level(values, seen)
    quantiles = torch.randn(4, 5, 3, 7, dtype=torch.float64).sort(-1).values
    assert (revin.restored(quantiles, level).diff(dim=-1) >= 0).all()


def test_missing_values_count_for_nothing(revin, values, seen):
    other = torch.where(seen, values, 1e6)
    for before, after in zip(
        (revin.level(values, seen).mean, revin.level(values, seen).std),
        (revin.level(other, seen).mean, revin.level(other, seen).std),
        strict=True,
    ):
        assert torch.equal(before, after)
    level = revin.level(values, seen)
    assert torch.equal(revin.normal(values, seen, level), revin.normal(other, seen, level))
    assert (revin.normal(other, seen, level)[~seen] == 0).all()


def test_windows_that_never_change_or_were_never_seen_stay_finite(revin):
    values, seen = torch.full((1, 9, 3), 4.0), torch.ones(1, 9, 3, dtype=torch.bool)
    seen[..., 1] = False
    level = revin.level(values, seen)
    assert level.mean[0, 0].tolist() == [4.0, 0.0, 4.0]
    assert level.std[0, 0].tolist() == pytest.approx([EPS**0.5, 1.0, EPS**0.5])
    assert revin.normal(values, seen, level).isfinite().all()


def test_no_gradient_goes_through_the_statistics(revin, values, seen):
    values.requires_grad_()
    level = revin.level(values, seen)
    assert not level.mean.requires_grad
    assert not level.std.requires_grad


def test_half_precision_is_widened(seen):
    values = torch.full((4, 9, 3), 300.0, dtype=torch.bfloat16)
    level = RevIN.level(values, torch.ones_like(seen))
    assert level.mean.dtype == torch.float32
    assert (level.mean == 300).all()
