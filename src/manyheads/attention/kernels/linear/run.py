"""Several chunks at once, where all keys count in full: each chunk is a row more of every product, and only adding up
their sums goes from one to the next. It saves calls, which on small chunks cost as much as arithmetic.
"""

from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.part import Carry, Part, Read


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
        return self._zeros(self.keys.size(0) // self.count, self.keys.size(2))

    @cached_property
    def _passed(self) -> tuple[Carry, Carry]:
        """What has been summed before each chunk (x, …), and after all (bg, …)."""
        added = Carry(torch.bmm(self.keys.transpose(1, 2), self.values), self.keys.sum(1, keepdim=True))
        return self._accumulate(added, self.carry, range(self.count))

    @property
    def summed(self) -> Carry:
        return self._passed[0]

    def after(self) -> Carry:
        return self._passed[1]

    def _back_of_sums(self, by_read: Read, by_after: Carry | None) -> tuple[Tensor, Tensor, Carry]:
        by_after = self._nothing() if by_after is None else by_after
        order = range(self.count - 1, -1, -1)
        by_added, by_carry = self._accumulate(self._back_of_summed(by_read), by_after, order)
        return *self._back_of_added(by_added), by_carry

    def _accumulate(self, added: Carry, first: Carry, order: range) -> tuple[Carry, Carry]:
        """For each chunk (x, …), `first` and what has been added before it in this order; and all together (bg, …)."""
        found = (self._accumulated(*each, order) for each in zip(added[:2], first[:2], strict=True))
        return tuple(Carry(*each) for each in zip(*found, strict=True))

    def _accumulated(self, added: Tensor, first: Tensor, order: range) -> tuple[Tensor, Tensor]:
        added = added.unflatten(0, (-1, self.count))
        sums = torch.empty_like(added)
        sums[:, order[0]] = first
        for before, at in pairwise(order):
            torch.add(sums[:, before], added[:, before], out=sums[:, at])
        return sums.flatten(0, 1), sums[:, order[-1]] + added[:, order[-1]]

    def _by_row(self, x: Float[Tensor, "b gr c w"]) -> Float[Tensor, "x rc w"]:
        b, g = self.k.shape[:2]
        chunks = x.reshape(b, g, x.size(1) // g, self.count, -1, x.size(3)).transpose(2, 3)
        return chunks.reshape(b * g * self.count, -1, x.size(3))

    def _like(self, x: Float[Tensor, "b gr c d"], rows: Float[Tensor, "x rc w"]) -> Float[Tensor, "b gr c w"]:
        b, g = self.k.shape[:2]
        chunks = rows.view(b, g, self.count, x.size(1) // g, -1, rows.size(2)).transpose(2, 3)
        return chunks.reshape(*x.shape[:3], rows.size(2))
