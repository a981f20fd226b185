"""One chunk: what its queries read of its keys and of the sums carried so far, what its keys add, and all gradients.

Rows x are the b · g key-value heads; the r · c queries of a row are the c positions of the r heads that share it, so
that keys are never repeated. Few and whole operations: at 64 positions of 8 heads, calling one costs as much as a
tenth of a matrix product.

Denominators go beside the values and not as one more column of theirs: products of a width that is no multiple of 16
take half as long again, and products with a single column as long as one with 64.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.gates import Ranks


class Carry(NamedTuple):
    """Over earlier keys, `sums` Σ φ(k) vᵀ and `mass` Σ φ(k). `ranks`: where not all of it counts in full (see `gates`).

    Also the gradients by sums and mass.
    """

    sums: Float[Tensor, "x F d"]
    mass: Float[Tensor, "x 1 F"]
    ranks: Ranks | None = None


class Read(NamedTuple):
    """Of weights, `found` Σ w v and `total` Σ w. Also the gradients by them, in rows (x, rc, …) or as queries are."""

    found: Float[Tensor, "b h c d"]
    total: Float[Tensor, "b h c 1"]


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
        self.values = self._by_row(v if hidden is None else v.masked_fill(hidden, 0.0)).contiguous()
        self.queries = self._by_row(feature.queries(q))

    def continuing(self, carry: Carry | None) -> "Part":
        """This part behind what was carried so far, or behind nothing."""
        self.carry = self._nothing() if carry is None else carry
        return self

    def _nothing(self) -> Carry:
        return self._zeros(self.keys.size(0), self.keys.size(2))

    def _zeros(self, rows: int, features: int, ranks: Ranks | None = None) -> Carry:
        new = self.keys.new_zeros
        return Carry(new(rows, features, self.values.size(2)), new(rows, 1, features), ranks)

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
    def summed(self) -> Carry:
        """What has been summed when a row of queries reads."""
        return self.carry

    def read(self) -> Read:
        """Sums of weighted values and of weights over all that each query sees."""
        found = torch.bmm(self.reading, self.summed.sums)
        total = (self.reading * self.summed.mass).sum(-1, keepdim=True)
        if self.both:
            found.baddbmm_(self.weights, self.values)
            total += self.weights.sum(-1, keepdim=True)
        return Read(self._like(self.q, found), self._like(self.q, total))

    def after(self) -> Carry:
        """The sums with this chunk's keys."""
        if not self.keys.size(1):
            return self.carry
        sums = torch.baddbmm(self.carry.sums, self.writing.transpose(1, 2), self.values)
        return Carry(sums, self.carry.mass + self.writing.sum(1, keepdim=True))

    @cached_property
    def weights(self) -> Float[Tensor, "x rc m"]:
        """What each query gives each key of the chunk."""
        return self._lower(torch.bmm(self.queries, self.keys.transpose(1, 2)))

    # --- backward ----------------------------------------------------------------------------------------------------

    def by_read(
        self, grad: Float[Tensor, "b h c d"], out: Float[Tensor, "b h c d"], totals: Float[Tensor, "b h c 1"]
    ) -> Read:
        """The gradients by what `read` gave, from that by out = found / totals."""
        by_found, spare = self._room(totals)
        torch.div(grad, totals, out=by_found)
        return Read(by_found, torch.mul(by_found, out, out=spare).sum(-1, keepdim=True).neg_())

    def _room(self, totals: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors like queries that may be overwritten."""
        return tuple(totals.new_empty(*totals.shape[:3], self.values.size(2)) for _ in range(2))

    def back(self, by_read: Read, by_after: Carry | None, grads: tuple[Tensor, Tensor, Tensor]) -> Carry:
        """Writes the gradients by q, k and v, from those by what `read` and `after` gave (None: zero); returns that by
        what was carried. `by_after` may be overwritten.
        """
        by_read = Read(*(self._by_row(x) for x in by_read))
        by_reading = torch.bmm(by_read.found, self.summed.sums.transpose(1, 2))
        by_queries = self._back_of_reading(by_reading.addcmul_(by_read.total, self.summed.mass))
        by_keys, by_values, by_carry = self._back_of_sums(by_read, by_after)
        if self.both:
            by_values.baddbmm_(self.weights.transpose(1, 2), by_read.found)
            by_weights = torch.bmm(by_read.found, self.values.transpose(1, 2)).add_(by_read.total)
            by_weights = self._back_of_weights(by_weights, by_queries)
            by_queries.baddbmm_(by_weights, self.keys)
            by_keys.baddbmm_(by_weights.transpose(1, 2), self.queries)
        self._back_of_features(by_queries, by_keys, by_values, grads)
        return by_carry

    def _back_of_reading(self, by_reading: Float[Tensor, "x rc F"]) -> Tensor:
        """The gradient by φ(q), as far as it comes through the carried sums."""
        return by_reading

    def _back_of_sums(self, by_read: Read, by_after: Carry | None) -> tuple[Tensor, Tensor, Carry]:
        """Gradients by φ(k) and by values, as far as they come through the sums; and that by what was carried."""
        if by_after is None:
            return torch.zeros_like(self.keys), torch.zeros_like(self.values), self._back_of_summed(by_read)
        by_keys, by_values = self._back_of_added(by_after)
        kept = self._kept(by_after)
        sums = kept.sums.baddbmm_(self.reading.transpose(1, 2), by_read.found)
        return by_keys, by_values, Carry(sums, kept.mass + self._back_of_mass(by_read))

    def _back_of_added(self, by_added: Carry) -> tuple[Tensor, Tensor]:
        """Gradients by what is written and by values, from those by what the keys add to the sums."""
        by_writing = torch.bmm(self.values, by_added.sums.transpose(1, 2)).add_(by_added.mass)
        return by_writing, torch.bmm(self.writing, by_added.sums)

    def _back_of_summed(self, by_read: Read) -> Carry:
        """Gradients by `summed`."""
        return Carry(torch.bmm(self.reading.transpose(1, 2), by_read.found), self._back_of_mass(by_read))

    def _back_of_mass(self, by_read: Read) -> Float[Tensor, "x 1 F"]:
        return (self.reading * by_read.total).sum(1, keepdim=True)

    def _kept(self, carry: Carry) -> Carry:
        """What of all that was carried goes on into the next sums. It may be overwritten."""
        return carry

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
