"""Which strips a mask is cut into. A plan is made once per mask and serves all layers, forward and backward."""

from dataclasses import dataclass

import torch
from torch import Tensor

from manyheads.attention.bias import Bias
from manyheads.attention.kernels.strips.items import items
from manyheads.attention.kernels.strips.runs import runs, together
from manyheads.attention.kernels.strips.strip import Sizes, Strip
from manyheads.attention.mask import Mask

SCORES = 1 << 19
"""Scores of one strip, over all its rows and heads: 2 MiB in fp32, what the caches next to two cores hold. (Measured on
Zen 4, where a quarter of it costs 5 to 15 % more; from 32 MiB on, every temporary costs page faults.)"""

SHORT = 1 << 14
"""Up to so many scores per row and head, all queries of a row go together, and rows of different lengths do, too."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Strips that hold each query that sees anything once.

    tile: what queries and keys are padded to multiples of. complete: whether the strips hold every query.
    """

    strips: list[Strip]
    tile: int
    complete: bool


def plan(mask: Mask, q: Tensor, k: Tensor, bias: Bias | None) -> Plan:
    """The plan for queries like q (b, h, n, d) and keys like k (b, g, m, d)."""
    sizes = Sizes(q.size(0), q.size(1), k.size(1), SCORES)
    if isinstance(bias, Tensor):
        return _plan(mask, sizes, bias, q.dtype, q.device)
    key = ("strips", sizes, bias, q.dtype, q.device)
    return mask.once(key, lambda: _plan(mask, sizes, bias, q.dtype, q.device))


def _plan(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> Plan:
    if mask.queries * mask.keys <= SHORT:
        return _whole(together(mask, sizes, bias, dtype, device), sizes, mask.queries, 1)
    if mask.per_head:
        tile = mask.pattern.tile
        return _whole(items(mask, sizes, bias, dtype, device), sizes, -(-mask.queries // tile) * tile, tile)
    return _whole(runs(mask, sizes, bias, dtype, device), sizes, mask.queries, 1)


def _whole(strips: list[Strip], sizes: Sizes, queries: int, tile: int) -> Plan:
    return Plan(strips, tile, sum(strip.held for strip in strips) == sizes.rows * sizes.heads * queries)
