"""Sigmoid attention: each key is weighed on its own, and nothing is normalised (Ramapuram et al. 2025).

The paper shifts all scores by −log n, n the length that it trains at. Where `count` is left out, n is instead the
number of keys that the query at hand may see: the same for full attention, and for causal, padded, packed or windowed
input the choice that keeps the weights' sum near 1 everywhere and makes cached decoding equal the full pass.
"""

from math import log

import torch
from torch import Tensor

from manyheads.attention.exact import Exact
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.attention.tiles import counts
from manyheads.errors import UserError


class Sigmoid(Exact):
    """sigmoid(q kᵀ / √d + bias − log(count)) v (Ramapuram et al. 2025, eq. 3).

    count: None, or a number that stands for all lengths. The other arguments are those of `Exact`.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        layer: int,
        kv_heads: int | None,
        kernel: str,
        dropout: float,
        strict: bool,
        pattern: Pattern | None,
        count: int | None,
    ) -> None:
        super().__init__(heads, head_dim, layer, kv_heads, kernel, dropout, strict, pattern)
        if count is not None and count < 1:
            raise UserError(f"attention.count={count} must be 1 or more; null takes the keys that each query may see.")
        self.count = count

    def shift(self, mask: Mask, q: Tensor) -> Tensor:
        return mask.once(("shift", self.count, self.heads, q.device), lambda: self._shift(mask, q.device))

    def _shift(self, mask: Mask, device: torch.device) -> Tensor:
        if self.count is not None:
            return torch.full((1, 1, mask.queries), -log(self.count), device=device)
        return -counts(mask, self.heads, device).clamp(min=1).float().log()
