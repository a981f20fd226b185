"""Several chunks at once, where all keys count in full: each chunk is a row more of every product, and only adding up
their sums goes from one to the next. It saves calls, which on small chunks cost as much as arithmetic.
"""

from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.part import Carry, Part


class Run(Part):
    """A part of `count` chunks; queries stand on keys. Rows x are b · g · count: the chunks of a head in turn."""

    def __init__(
        self, feature: FeatureMap, q: Tensor, k: Tensor, v: Tensor, hidden: Bool[Tensor, "b 1 m 1"] | None, count: int
    ) -> None:
        self.count = count
        super().__init__(feature, q, k, v, hidden)
        b, g, r, c = self.shape
        self.shape = (b * g, count, r, c // count)

    def _nothing(self) -> Carry:
        rows = self.keys.size(0) // self.count
        return Carry(self.keys.new_zeros(rows, self.keys.size(2), self.values.size(2)))

    @cached_property
    def _added(self) -> Float[Tensor, "bg count F d1"]:
        """What each chunk adds."""
        return torch.bmm(self.keys.transpose(1, 2), self.values).unflatten(0, (-1, self.count))

    @cached_property
    def sums(self) -> Tensor:
        sums = torch.empty_like(self._added)
        sums[:, 0] = self.carry.sums
        for at in range(1, self.count):
            torch.add(sums[:, at - 1], self._added[:, at - 1], out=sums[:, at])
        return sums.flatten(0, 1)

    def after(self) -> Carry:
        return Carry(self.sums.view_as(self._added)[:, -1] + self._added[:, -1])

    def _back_of_sums(self, by_read: Tensor, by_after: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        by_sums = torch.bmm(self.queries.transpose(1, 2), by_read).view_as(self._added)
        by_added = torch.empty_like(by_sums)
        by_added[:, -1] = 0.0 if by_after is None else by_after
        for at in reversed(range(1, self.count)):
            torch.add(by_added[:, at], by_sums[:, at], out=by_added[:, at - 1])
        carried = by_added[:, 0] + by_sums[:, 0]
        by_added = by_added.flatten(0, 1)
        by_keys = torch.bmm(self.values, by_added.transpose(1, 2))
        return by_keys, torch.bmm(self.keys, by_added[..., :-1]), carried

    def _by_row(self, x: Float[Tensor, "b gr c w"]) -> Float[Tensor, "x rc w"]:
        b, g = self.k.shape[:2]
        chunks = x.reshape(b, g, x.size(1) // g, self.count, -1, x.size(3)).transpose(2, 3)
        return chunks.reshape(b * g * self.count, -1, x.size(3))

    def _like(self, x: Float[Tensor, "b gr c d"], rows: Float[Tensor, "x rc w"]) -> Float[Tensor, "b gr c w"]:
        b, g = self.k.shape[:2]
        chunks = rows.view(b, g, self.count, x.size(1) // g, -1, rows.size(2)).transpose(2, 3)
        return chunks.reshape(*x.shape[:3], rows.size(2))
