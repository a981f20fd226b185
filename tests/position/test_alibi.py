import pytest
import torch

from manyheads.attention.mask import Mask
from manyheads.position.alibi import Alibi, slopes


def test_slopes_of_eight_heads_are_those_of_the_paper():
    assert slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


def test_slopes_of_twelve_heads_are_those_of_the_published_code():
    """Those of 8, then every second one of 16 (get_slopes in ofirpress/attention_with_linear_biases)."""
    between = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    torch.testing.assert_close(slopes(12), torch.tensor([2.0**-k for k in range(1, 9)] + between))


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 6, 16, 20])
def test_every_head_has_its_own_positive_slope(heads):
    found = slopes(heads)
    assert found.shape == (heads,)
    assert len(found.unique()) == heads
    assert ((found > 0) & (found <= 1)).all()


@pytest.mark.parametrize("offset", [None, 0, 4, [0, 2, 5]], ids=str)
def test_bias_is_slope_times_distance(offset):
    heads, n, m = 4, 3, 8
    mask = Mask(n, m, causal=True, offset=torch.tensor(offset) if isinstance(offset, list) else offset)
    dense = Alibi(32, heads, 8).bias.dense(mask).expand(3, heads, n, m)
    starts = offset if isinstance(offset, list) else [m - n if offset is None else offset] * 3
    for b in range(3):
        for h in range(heads):
            for i in range(n):
                for j in range(m):
                    expected = -(2.0 ** (-8 * (h + 1) / heads)) * abs(starts[b] + i - j)
                    assert float(dense[b, h, i, j]) == pytest.approx(expected)


def test_bias_follows_its_slopes_to_another_dtype():
    scheme = Alibi(32, 4, 8)
    assert scheme.bias is scheme.bias
    before = scheme.bias.slopes
    scheme.double()
    assert before.dtype == torch.float32
    assert scheme.bias.slopes.dtype == torch.float64
    assert scheme.bias.dense(Mask(2, 2)).dtype == torch.float64


def test_slopes_are_saved():
    """They belong to heads: a model with fewer heads keeps those of the survivors."""
    saved = Alibi(32, 4, 8).state_dict()
    other = Alibi(32, 4, 8)
    other.slopes.zero_()
    other.load_state_dict(saved)
    torch.testing.assert_close(other.bias.slopes, slopes(4))
    assert float(other.bias.dense(Mask(2, 2))[0, 0, 0, 1]) == -0.25
