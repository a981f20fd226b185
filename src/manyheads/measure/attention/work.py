"""The work that a case cannot do without: floating-point operations of the pairs that may look, and bytes moved once.

Forward: 4 · pairs · d per head (two products). Forward + backward: 3.5 times that, since the backward has five
products, one of which makes the scores again. Linear rules, with m features: 4 · n · m · d; with the backward 3 times
that.
"""

from dataclasses import dataclass

import torch

from manyheads.attention.mask import Mask
from manyheads.attention.tiles import tiles
from manyheads.measure.attention.case import Shape

TILE = 64
"""Side of the tiles that are counted whole or pair by pair."""

SLICE = 1 << 10
"""Tiles whose pairs are looked at together: some 30 MiB of index arithmetic."""


@dataclass(frozen=True)
class Work:
    """flops: None where nobody has counted them for this rule."""

    flops: float | None
    bytes: float


def softmax_work(shape: Shape, pairs: int, kv_heads: int) -> Work:
    """`pairs`: over all rows and heads."""
    forward = 4 * pairs * shape.head_dim
    return Work(forward * (3.5 if shape.gradients else 1), moved(shape, kv_heads))


def linear_work(shape: Shape, features: int, kv_heads: int, featuring: int = 0) -> Work:
    """`featuring`: operations per token and head that make the features."""
    tokens = shape.batch * shape.heads * shape.length
    forward = tokens * (4 * features * shape.head_dim + featuring)
    return Work(forward * (3 if shape.gradients else 1), moved(shape, kv_heads))


def moved(shape: Shape, kv_heads: int) -> int:
    """Bytes: q, k, v read and out written; backward q, k, v, out and its gradient read, three gradients written."""
    row = shape.batch * shape.length * shape.head_dim * shape.dtype.itemsize
    forward = row * 2 * (shape.heads + kv_heads)
    return forward + row * 4 * (shape.heads + kv_heads) if shape.gradients else forward


def pairs(mask: Mask, heads: int, batch: int) -> int:
    """How many (query, key) may look, over all rows and heads: in time that grows with the pattern's tiles."""
    n, m = mask.queries, mask.keys
    if mask.pattern is None and mask.lengths is None and mask.documents is None and n == m:
        return batch * heads * (n * (n + 1) // 2 if mask.causal else n * m)
    listed = tiles(mask, heads, TILE, TILE, torch.device("cpu"))
    rows, own_heads = listed.bounds.shape[:2]
    return _count(mask, listed) * (batch // rows) * (heads // own_heads)


def _count(mask: Mask, listed) -> int:
    """Over the rows and heads that the lists name."""
    start, middle, end = listed.bounds.flatten(0, 2).long().unbind(-1)
    group = torch.arange(len(start)).repeat_interleave(end - start)
    place = torch.arange(len(group))
    whole = place < middle[group]
    query, key = group % listed.bounds.size(2), listed.index.long()
    height = (mask.queries - query * TILE).clamp(max=TILE)
    breadth = (mask.keys - key * TILE).clamp(max=TILE)
    total = int((height * breadth)[whole].sum())
    for part in (~whole).nonzero().flatten().split(SLICE):
        total += _within(mask, group[part], query[part], key[part], listed.bounds.shape)
    return total


def _within(mask: Mask, group: torch.Tensor, query: torch.Tensor, key: torch.Tensor, shape: torch.Size) -> int:
    """Pairs allowed in these tiles, one by one."""
    column = group.view(-1, 1, 1)
    b, h = column // (shape[1] * shape[2]), column // shape[2] % shape[1]
    i = query.view(-1, 1, 1) * TILE + torch.arange(TILE).view(1, -1, 1)
    j = key.view(-1, 1, 1) * TILE + torch.arange(TILE).view(1, 1, -1)
    inside = (i < mask.queries) & (j < mask.keys)
    return int((mask.allowed(b, h, i.clamp(max=mask.queries - 1), j.clamp(max=mask.keys - 1)) & inside).sum())
