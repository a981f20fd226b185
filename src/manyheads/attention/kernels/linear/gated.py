"""A chunk some of whose keys count differently for different queries (see `gates`): documents, stabilised features."""

from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.gates import Gate, Ranks, lowest, nothing, readers, writer
from manyheads.attention.kernels.linear.part import Carry, Part


class GatedPart(Part):
    """documents: those of the keys (b, m) and of the queries (b, c), or None where there is one.

    The floor of the features is a feature more, without a gate: Σ φ(q) · floor for queries, 1 for keys. Where it is not
    0, `reading`, `writing` and the carried sums have it as their last one.
    """

    def __init__(
        self,
        feature: FeatureMap,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        hidden: Bool[Tensor, "b 1 m 1"] | None,
        documents: tuple[Int[Tensor, "b m"], Int[Tensor, "b c"]] | None,
    ) -> None:
        super().__init__(feature, q, k, v, hidden)
        top = k.new_zeros(k.shape[:3]) if self.top is None else self.top
        if hidden is not None:
            top = top.masked_fill(hidden.squeeze(-1), lowest(top.dtype))
        if documents is None:
            documents = tuple(torch.zeros(x.size(0), x.size(2), dtype=torch.long, device=x.device) for x in (k, q))
        self.ranks, self.asking = Ranks(top, documents[0]), documents[1]

    def _nothing(self) -> Carry:
        document = self.ranks.document if self.k.size(2) else self.asking
        ranks = nothing(self.k.new_zeros(*self.shape[:2], 1), document)
        return self._zeros(self.keys.size(0), self.keys.size(2) + bool(self.feature.floor), ranks)

    # --- gates -------------------------------------------------------------------------------------------------------

    @cached_property
    def _all(self) -> Ranks:
        return self.carry.ranks.then(self.ranks)

    @cached_property
    def _carried(self) -> Gate:
        """What queries get of the carried sums: factor, seen (b, g, 1, c, 1)."""
        return self._readers.key(slice(0, 1))

    @cached_property
    def _own(self) -> Gate:
        """What queries get of the chunk's keys: factor, seen (b, g, 1, c, m)."""
        own = self._readers.key(slice(1, None))
        if self.hidden is None:
            return own
        return own._replace(seen=own.seen.masked_fill(self.hidden.unsqueeze(1).transpose(3, 4), 0.0))

    @cached_property
    def _readers(self) -> Gate:
        return Gate(*(x.unsqueeze(2) for x in readers(self._all, self.asking)))

    @cached_property
    def _writer(self) -> tuple[Gate, Ranks]:
        """What the next sums get of the carried ones and of the keys: factor, seen (x, 1 + m, 1)."""
        made, ranks = writer(self._all)
        return Gate(*(x.flatten(0, 1).transpose(1, 2) for x in made[:2]), made.level), ranks

    @cached_property
    def _floor(self) -> Float[Tensor, "b g r c 1"]:
        """What each query gives every key it sees, beyond the stabilised part."""
        return self._by_head(self.queries.sum(-1, keepdim=True) * self.feature.floor)

    # --- forward -----------------------------------------------------------------------------------------------------

    @cached_property
    def reading(self) -> Float[Tensor, "x rc F"]:
        read = self._by_head(self.queries) * self._carried.factor
        if self.feature.floor:
            read = torch.cat((read, self._floor * self._carried.seen), dim=-1)
        return read.view(*self.queries.shape[:2], read.size(-1))

    @cached_property
    def writing(self) -> Float[Tensor, "x m F"]:
        factor, seen = (x[:, 1:] for x in self._writer[0][:2])
        written = self.keys * factor
        if not self.feature.floor:
            return written
        return torch.cat((written, self._by_row(self._hide(self._like(self.k, seen.clone())))), dim=-1)

    def after(self) -> Carry:
        if not self.keys.size(1):
            return self.carry
        kept = self._kept(self.carry)
        sums = kept.sums.baddbmm_(self.writing.transpose(1, 2), self.values)
        return Carry(sums, kept.mass + self.writing.sum(1, keepdim=True), self._writer[1])

    def _kept(self, carry: Carry) -> Carry:
        if not self.keys.size(1):
            return carry
        factor, seen = (x[:, :1] for x in self._writer[0][:2])
        factor = factor.expand(-1, -1, self.keys.size(2))
        factor = torch.cat((factor, seen), dim=2) if self.feature.floor else factor
        return Carry(carry.sums * factor.transpose(1, 2), carry.mass * factor)

    @cached_property
    def weights(self) -> Float[Tensor, "x rc m"]:
        weights = torch.bmm(self.queries, self.keys.transpose(1, 2))
        per_head = self._by_head(weights).mul_(self._own.factor)
        if self.feature.floor:
            per_head.addcmul_(self._floor, self._own.seen)
        return weights

    # --- backward ----------------------------------------------------------------------------------------------------

    def _back_of_reading(self, by_reading: Tensor) -> Tensor:
        by_reading, features = self._by_head(by_reading), self.keys.size(2)
        by_queries = by_reading[..., :features] * self._carried.factor
        if self.feature.floor:
            by_queries.addcmul_(by_reading[..., features:], self._carried.seen, value=self.feature.floor)
        return by_queries.view(self.queries.shape)

    def _back_of_added(self, by_added: Carry) -> tuple[Tensor, Tensor]:
        by_writing, by_values = super()._back_of_added(by_added)
        return by_writing[..., : self.keys.size(2)] * self._writer[0].factor[:, 1:], by_values

    def _back_of_weights(self, by_weights: Tensor, by_queries: Tensor) -> Tensor:
        per_head = self._by_head(by_weights)
        if self.feature.floor:
            total = (per_head * self._own.seen).sum(-1, keepdim=True)
            self._by_head(by_queries).add_(total, alpha=self.feature.floor)
        per_head.mul_(self._own.factor)
        return by_weights
