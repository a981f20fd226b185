import pytest
import torch

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.errors import UserError

CPU, HEADS = torch.device("cpu"), 4
BLOCK = 4


def blocks(n: int, causal: bool = False, seed: int = 0, layer: int = 0, lengths=None, **sizes) -> torch.Tensor:
    """The dense pattern by blocks (rows, heads, n / block, n / block)."""
    pattern = BigBird(**({"block": BLOCK, "window": 1, "globals": 1, "random": 3, "seed": seed} | sizes)).at(layer)
    mask = Mask(n, n, lengths=lengths, pattern=pattern)
    b = torch.arange(mask.rows).view(-1, 1, 1, 1)
    h, i, j = torch.arange(HEADS).view(-1, 1, 1), torch.arange(n).view(-1, 1), torch.arange(n)
    length = n if lengths is None else lengths[b]
    seen = pattern.allowed(h, i, j, length, causal).expand(mask.rows, HEADS, n, n)
    grid = seen.unflatten(2, (-1, BLOCK)).unflatten(4, (-1, BLOCK))
    assert (grid.any(5).any(3) == grid.all(5).all(3)).all()
    return grid[:, :, :, 0, :, 0]


def test_every_block_sees_neighbours_ends_and_its_share_of_others():
    seen = blocks(20 * BLOCK)[0]
    middle = range(3, 17)
    for row in middle:
        assert seen[:, row, [0, row - 1, row, row + 1, 19]].all()
        assert (seen[:, row].sum(-1) == 3 + 2 + 3).all()
    assert seen[:, [0, 19]].all()
    assert seen[:, :, [0, 19]].all()
    assert (seen[:, 1].sum(-1) == 8 - 1).all()


def test_the_causal_variant_draws_from_the_past_alone_and_does_not_depend_on_the_length():
    short, long = blocks(20 * BLOCK, causal=True)[0], blocks(30 * BLOCK, causal=True)[0]
    past = torch.ones(20, 20).tril().bool()
    assert torch.equal(short & past, long[:, :20, :20] & past)
    for row in range(6, 20):
        assert ((short & past)[:, row].sum(-1) == 2 + 1 + 3).all()
        assert short[:, row, [0, row - 1, row]].all()


def test_a_padded_row_sees_what_it_sees_alone():
    lengths = torch.tensor([20, 12, 1]) * BLOCK - 1
    together = blocks(20 * BLOCK, lengths=lengths)
    for b, count in enumerate((20, 12, 1)):
        alone = blocks(count * BLOCK, lengths=lengths[b : b + 1])[0]
        assert (together[b, :, :count, :count] == alone).all()


def test_draws_differ_between_heads_layers_and_seeds_and_repeat_otherwise():
    first = blocks(64 * BLOCK)[0]
    assert torch.equal(first, blocks(64 * BLOCK)[0])
    for other in (blocks(64 * BLOCK, layer=1)[0], blocks(64 * BLOCK, seed=1)[0], first.roll(1, 0)):
        assert (first != other).any(-1).any(-1).all()


def test_draws_reach_every_block_about_equally():
    seen = torch.stack([blocks(40 * BLOCK, seed=seed, globals=0, window=0)[0] for seed in range(50)]).float()
    drawn = seen.mean((0, 1)) - torch.eye(40)
    expected = 3 / 39
    assert (drawn.masked_select(~torch.eye(40, dtype=torch.bool)) - expected).abs().max() < 0.1
    assert abs(drawn.sum(-1).mean() - 3) < 1e-3


def test_too_few_blocks_are_all_seen():
    assert blocks(6 * BLOCK).all()


@pytest.mark.parametrize(("key", "value"), [("block", 0), ("window", -1), ("globals", -1), ("random", -2)])
def test_impossible_sizes_are_refused(key, value):
    sizes = {"block": 4, "window": 1, "globals": 1, "random": 3, "seed": 0}
    with pytest.raises(UserError, match=rf"attention\.pattern\.{key}={value} must be"):
        BigBird(**(sizes | {key: value}))
