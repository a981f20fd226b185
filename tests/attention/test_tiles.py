"""Tile lists against the dense mask, over random masks of every kind: nothing needed is missing, and nothing that is
called whole is not."""

import pytest
import torch

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.window import Window
from manyheads.attention.tiles import counts, tiles

B, H, CPU = 3, 2, torch.device("cpu")


class Draw:
    """Seeded small numbers."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def row(self, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=self.generator)


def any_pattern(draw: Draw) -> Pattern | None:
    window = Window(draw(0, 9), draw(1, 3), draw(0, 3))
    bigbird = BigBird(draw(1, 9), draw(0, 2), draw(0, 2), draw(0, 3), draw(0, 99)).at(draw(0, 3))
    return [None, window, bigbird][draw(0, 2)]


def any_mask(draw: Draw) -> Mask:
    n, m = draw(1, 60), draw(1, 60)
    return Mask(
        queries=n,
        keys=m,
        causal=bool(draw(0, 1)),
        lengths=draw.row(m + 1, B) if draw(0, 1) else None,
        documents=draw.row(3, B, m).sort(1).values if draw(0, 2) == 0 else None,
        pattern=any_pattern(draw),
        offset=[None, draw(-3, 9), draw.row(9, B)][draw(0, 2)],
    )


def marked(bounds: torch.Tensor, index: torch.Tensor, others: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The lists as two grids (B, H, T, others): what is listed, and what is listed as whole."""
    bounds = bounds.expand(B, H, -1, 3)
    listed = torch.zeros(*bounds.shape[:3], others, dtype=torch.bool)
    whole = listed.clone()
    for b, h, t in torch.cartesian_prod(*(torch.arange(size) for size in bounds.shape[:3])).tolist():
        start, middle, end = bounds[b, h, t].tolist()
        names = index[start:end].long()
        assert names.unique().numel() == names.numel()
        listed[b, h, t, names] = True
        whole[b, h, t, index[start:middle].long()] = True
    return listed, whole


@pytest.mark.parametrize("seed", range(120))
def test_lists_hold_what_is_needed(seed):
    draw = Draw(seed)
    mask, query_tile, key_tile = any_mask(draw), 2 ** draw(0, 4), 2 ** draw(0, 4)
    rows, columns = -(-mask.queries // query_tile), -(-mask.keys // key_tile)
    dense = mask.dense(H, CPU).expand(B, H, -1, -1)
    padded = torch.zeros(B, H, rows * query_tile, columns * key_tile, dtype=torch.bool)
    padded[:, :, : mask.queries, : mask.keys] = dense
    real = (torch.arange(rows * query_tile) < mask.queries).view(1, 1, rows, 1, query_tile, 1)
    pairs = padded.view(B, H, rows, query_tile, columns, key_tile).transpose(3, 4)

    found = tiles(mask, H, query_tile, key_tile, CPU)
    listed, whole = marked(found.bounds, found.index, columns)
    assert not (pairs.flatten(4).any(-1) & ~listed).any()
    assert not (whole & ~(pairs | ~real).flatten(4).all(-1)).any()
    if not found.ragged and mask.pattern is not None:
        allowed = Mask(mask.queries, mask.keys, mask.causal, mask.lengths, mask.documents, None, mask.offset)
        rest = allowed.dense(H, CPU).expand(B, H, -1, -1)
        inside = listed.repeat_interleave(query_tile, 2).repeat_interleave(key_tile, 3)
        assert torch.equal(dense, rest & inside[:, :, : mask.queries, : mask.keys])

    back, _ = marked(found.transposed.bounds, found.transposed.index, rows)
    assert (back.transpose(2, 3) == listed).all()
    assert (counts(mask, H, CPU).expand(B, H, mask.queries) == dense.sum(-1)).all()


@pytest.mark.parametrize("pattern", [Window(256, 1, 0), Window(64, 4, 2), BigBird(64, 1, 1, 3, 0)], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_lists_grow_with_length_and_not_with_its_square(pattern, causal):
    sizes = [tiles(Mask(n, n, causal, pattern=pattern), H, 64, 64, CPU).index.numel() for n in (8192, 16384)]
    assert sizes[1] < 2.1 * sizes[0]
