import math

import pytest
import torch

from manyheads.position.sinusoidal import Sinusoidal, positions


@pytest.mark.parametrize("dim", [16, 7])
def test_equals_the_formula(dim):
    n, start = 50, 30
    found = Sinusoidal(dim, 1, dim).embed(torch.zeros(1, n, dim, dtype=torch.float64), start)[0]
    for t in range(n):
        for c in range(dim):
            angle = (start + t) / 10000 ** (2 * (c // 2) / dim)
            wave = math.sin(angle) if c % 2 == 0 else math.cos(angle)
            # Angles are fp32: one unit in the last place of an angle near 80.
            assert float(found[t, c]) == pytest.approx(wave, abs=2e-5)


def test_is_added():
    x = torch.randn(2, 5, 8)
    scheme = Sinusoidal(8, 2, 4)
    torch.testing.assert_close(scheme.embed(x, 0) - x, scheme.embed(torch.zeros(1, 5, 8), 0).expand_as(x))


def test_rows_start_where_they_are_told_to():
    scheme, starts = Sinusoidal(8, 2, 4), torch.tensor([0, 4, 11])
    x = torch.randn(3, 6, 8)
    found = scheme.embed(x, starts)
    for b, start in enumerate(starts.tolist()):
        torch.testing.assert_close(found[b : b + 1], scheme.embed(x[b : b + 1], start))


def test_a_later_start_is_a_slice_of_the_whole():
    scheme, x = Sinusoidal(8, 2, 4), torch.randn(1, 12, 8)
    torch.testing.assert_close(scheme.embed(x[:, 5:], 5), scheme.embed(x, 0)[:, 5:])


def test_neighbours_differ_in_bf16():
    """Positions are counted in fp32: in bf16, 256 and 257 would be the same number."""
    far = positions(4000, 3, torch.device("cpu"))
    assert far.tolist() == [[4000.0, 4001.0, 4002.0]]
    waves = Sinusoidal(16, 1, 16).embed(torch.zeros(1, 3, 16, dtype=torch.bfloat16), 4000)
    assert waves.dtype == torch.bfloat16
    assert not torch.equal(waves[0, 0], waves[0, 1])


def test_has_no_state():
    assert not Sinusoidal(8, 2, 4).state_dict()
