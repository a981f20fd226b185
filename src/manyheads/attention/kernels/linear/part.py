"""One chunk: what its queries read of its keys and of the sums carried so far, what its keys add, and all gradients.

Rows x are the b · g key-value heads; the r · c queries of a row are the c positions of the r heads that share it, so
that keys are never repeated. The last of the d + 1 columns of values and sums is the denominator's. Few and whole
operations: at 64 positions of 8 heads, calling one costs as much as a tenth of a matrix product.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.gates import Ranks


class Carry(NamedTuple):
    """Σ φ(k) [v, 1]ᵀ over earlier keys. `ranks`: where not all of it counts in full (see `gates`)."""

    sums: Float[Tensor, "x F d1"]
    ranks: Ranks | None = None


class Part:
    """Queries (b, h, c, d), keys and values (b, g, m, d) of one chunk: c = m, or one of them is 0. All keys count in
    full. hidden (b, 1, m, 1): keys that nobody may see.
    """

    def __init__(self, feature: FeatureMap, q: Tensor, k: Tensor, v: Tensor, hidden: Bool[Tensor, "b 1 m 1"] | None):
        self.feature, self.q, self.k, self.hidden = feature, q, k, hidden
        self.shape = (*k.shape[:2], q.size(1) // k.size(1), q.size(2))
        self.both = bool(q.size(2) and k.size(2))
        keys, self.top = feature.keys(k)
        self.keys = self._by_row(self._hide(keys))
        self.values = self._by_row(self._hide(_with_ones(v)))
        self.queries = self._by_row(feature.queries(q))

    def continuing(self, carry: Carry | None) -> "Part":
        """This part behind what was carried so far, or behind nothing."""
        self.carry = self._nothing() if carry is None else carry
        return self

    def _nothing(self) -> Carry:
        return Carry(self.keys.new_zeros(self.keys.size(0), self.keys.size(2), self.values.size(2)))

    # --- forward -----------------------------------------------------------------------------------------------------

    @property
    def reading(self) -> Float[Tensor, "x rc F"]:
        """φ(q) as it meets the carried sums."""
        return self.queries

    @property
    def writing(self) -> Float[Tensor, "x m F"]:
        """φ(k) as it goes into the sums."""
        return self.keys

    @property
    def sums(self) -> Float[Tensor, "x F d1"]:
        """What has been summed when a row of queries reads."""
        return self.carry.sums

    def read(self) -> Float[Tensor, "b h c d1"]:
        """Sums of weighted [v, 1] over all that each query sees."""
        found = torch.bmm(self.reading, self.sums)
        if self.both:
            found.baddbmm_(self.weights, self.values)
        return self._like(self.q, found)

    def after(self) -> Carry:
        """The sums with this chunk's keys."""
        if not self.keys.size(1):
            return self.carry
        return Carry(torch.baddbmm(self.carry.sums, self.writing.transpose(1, 2), self.values))

    @cached_property
    def weights(self) -> Float[Tensor, "x rc m"]:
        """What each query gives each key of the chunk."""
        return self._lower(torch.bmm(self.queries, self.keys.transpose(1, 2)))

    # --- backward ----------------------------------------------------------------------------------------------------

    def back(
        self,
        by_read: Float[Tensor, "b h c d1"],
        by_after: Float[Tensor, "x F d1"] | None,
        grads: tuple[Tensor, Tensor, Tensor],
    ) -> Float[Tensor, "x F d1"]:
        """Writes the gradients by q, k and v, from those by what `read` and `after` gave (None: zero); returns that by
        the carried sums. `by_after` may be overwritten.
        """
        by_read = self._by_row(by_read)
        by_queries = self._back_of_reading(torch.bmm(by_read, self.sums.transpose(1, 2)))
        by_keys, by_values, by_carry = self._back_of_sums(by_read, by_after)
        if self.both:
            by_values.baddbmm_(self.weights.transpose(1, 2), by_read[..., :-1])
            by_weights = self._back_of_weights(torch.bmm(by_read, self.values.transpose(1, 2)), by_queries)
            by_queries.baddbmm_(by_weights, self.keys)
            by_keys.baddbmm_(by_weights.transpose(1, 2), self.queries)
        self._back_of_features(by_queries, by_keys, by_values, grads)
        return by_carry

    def _back_of_reading(self, by_reading: Float[Tensor, "x rc F"]) -> Tensor:
        """The gradient by φ(q), as far as it comes through the carried sums."""
        return by_reading

    def _back_of_sums(self, by_read: Tensor, by_after: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by φ(k) and by values, as far as they come through the sums; and that by the carried sums."""
        if by_after is None:
            by_keys, by_values = torch.zeros_like(self.keys), torch.zeros_like(self.values[..., :-1])
            return by_keys, by_values, torch.bmm(self.reading.transpose(1, 2), by_read)
        by_keys = torch.bmm(self.values, by_after.transpose(1, 2))
        by_values = torch.bmm(self.writing, by_after[..., :-1])
        return by_keys, by_values, self._kept(by_after).baddbmm_(self.reading.transpose(1, 2), by_read)

    def _kept(self, sums: Float[Tensor, "x F d1"]) -> Float[Tensor, "x F d1"]:
        """What of the carried sums goes on into the next ones. `sums` may be overwritten."""
        return sums

    def _back_of_weights(self, by_weights: Tensor, by_queries: Tensor) -> Tensor:
        """The gradient by φ(q) φ(k)ᵀ; what goes to the queries directly is added to theirs."""
        return self._lower(by_weights)

    def _back_of_features(self, by_queries: Tensor, by_keys: Tensor, by_values: Tensor, grads: tuple) -> None:
        by_q, by_k, by_v = grads
        self.feature.queries_back(self.q, *(self._like(self.q, x) for x in (self.queries, by_queries)), by_q)
        self.feature.keys_back(self.k, *(self._like(self.k, x) for x in (self.keys, by_keys)), by_k)
        by_v.copy_(self._like(self.k, by_values))
        self._hide(by_k), self._hide(by_v)

    # --- shapes ------------------------------------------------------------------------------------------------------

    def _by_row(self, x: Float[Tensor, "b gr c w"]) -> Float[Tensor, "x rc w"]:
        b, g = self.shape[:2]
        return x.reshape(b * g, x.size(1) // g * x.size(2), x.size(3))

    def _like(self, x: Float[Tensor, "b gr c d"], rows: Float[Tensor, "x rc w"]) -> Float[Tensor, "b gr c w"]:
        """Rows as what they were made of."""
        return rows.view(*x.shape[:3], rows.size(2))

    def _by_head(self, x: Float[Tensor, "x rc w"]) -> Float[Tensor, "b g r c w"]:
        return x.view(*self.shape, x.size(2))

    def _hide(self, x: Float[Tensor, "b g m w"]) -> Float[Tensor, "b g m w"]:
        return x if self.hidden is None else x.masked_fill_(self.hidden, 0.0)

    def _lower(self, weights: Float[Tensor, "x rc m"]) -> Float[Tensor, "x rc m"]:
        """No key behind its query: the lower triangle for each head."""
        self._by_head(weights).tril_()
        return weights


def _with_ones(v: Float[Tensor, "b g m d"]) -> Float[Tensor, "b g m d1"]:
    values = v.new_empty(*v.shape[:3], v.size(3) + 1)
    values[..., :-1] = v
    values[..., -1] = 1.0
    return values
