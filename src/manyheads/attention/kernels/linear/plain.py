"""A chunk of the plainest case, φ = elu + 1 with queries on keys that all count in full, on memory that all chunks use
in turn: what was just written is still in the cache, and few calls are made. Both cost more here than arithmetic saves.
"""

from functools import partial
from math import e, log2

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.part import Carry, Part, Read

LOG2E = log2(e)


class Desk:
    """Room for one chunk (b, h or g, c, d) of queries, keys, values, weights and gradients; each also in rows x.

    As little of it as can be: `by_values` lies in `spare`, and what else is only passing in `found`.
    """

    def __init__(self, q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g m d"], c: int, dtype: torch.dtype) -> None:
        (b, g, _, d), r, new = k.shape, q.size(1) // k.size(1), partial(q.new_empty, dtype=dtype)
        self.queries, self.found, self.by_queries, self.spare = (new(b * g, r * c, d) for _ in range(4))
        self.keys, self.values, self.by_keys = (new(b * g, c, d) for _ in range(3))
        self.by_values, passing = (x.view(-1)[: self.keys.numel()].view_as(self.keys) for x in (self.spare, self.found))
        self.weights, self.by_weights = (new(b * g, r * c, c) for _ in range(2))
        asking, asked = (b, g * r, c, d), (b, g, c, d)
        self.like_q = [x.view(asking) for x in (self.queries, self.found, self.by_queries, self.spare)]
        self.like_k = [x.view(asked) for x in (self.keys, self.values, self.by_keys, self.by_values, passing)]
        self.per_head = [x.view(b * g * r, c, c) for x in (self.weights, self.by_weights)]
        self.queries_t, self.keys_t, self.values_t, self.weights_t, self.by_weights_t = (
            x.transpose(1, 2) for x in (self.queries, self.keys, self.values, self.weights, self.by_weights)
        )


class PlainPart(Part):
    """Takes the place of every earlier part on the same desk."""

    def __init__(
        self, feature: FeatureMap, q: Tensor, k: Tensor, v: Tensor, hidden: Bool[Tensor, "b 1 m 1"] | None, desk: Desk
    ) -> None:
        self.feature, self.q, self.k, self.hidden, self.desk = feature, q, k, hidden, desk
        self.queries, self.keys, self.values = desk.queries, desk.keys, desk.values
        (queries, found, *_), (keys, values, *_, passing) = desk.like_q, desk.like_k
        _elu(q, queries, found)
        self._hide(_elu(k, keys, passing))
        self._hide(values.copy_(v))
        torch.bmm(self.queries, desk.keys_t, out=desk.weights)
        desk.per_head[0].tril_()

    def read(self) -> Read:
        desk, (sums, mass, _) = self.desk, self.carry
        total = torch.mul(self.queries, mass, out=desk.found).sum(-1, keepdim=True)
        total.add_(desk.weights.sum(-1, keepdim=True))
        torch.bmm(desk.weights, self.values, out=desk.found).baddbmm_(self.queries, sums)
        return Read(desk.like_q[1], self._like(self.q, total))

    def after(self) -> Carry:
        sums, mass, _ = self.carry
        return Carry(torch.baddbmm(sums, self.desk.keys_t, self.values), mass + self.keys.sum(1, keepdim=True))

    def _room(self, totals: Tensor) -> tuple[Tensor, Tensor]:
        return self.desk.like_q[1], self.desk.like_q[3]

    def back(self, by_read: Read, by_after: Carry | None, grads: tuple[Tensor, Tensor, Tensor]) -> Carry:
        desk, by_after = self.desk, self._nothing() if by_after is None else by_after
        found, total = (x.view(*self.queries.shape[:2], -1) for x in by_read)
        by_mass = torch.mul(self.queries, total, out=desk.spare).sum(1, keepdim=True)
        self._back_of_own(found, total)
        desk.by_queries.baddbmm_(found, self.carry.sums.transpose(1, 2)).addcmul_(total, self.carry.mass)
        desk.by_keys.baddbmm_(self.values, by_after.sums.transpose(1, 2)).add_(by_after.mass)
        desk.by_values.baddbmm_(self.keys, by_after.sums)
        by_after.sums.baddbmm_(desk.queries_t, found)
        by_after.mass.add_(by_mass)
        self._write(grads)
        return by_after

    def _back_of_own(self, found: Float[Tensor, "x rc d"], total: Float[Tensor, "x rc 1"]) -> None:
        """Gradients as far as they come through the chunk's own weights."""
        desk = self.desk
        torch.bmm(found, desk.values_t, out=desk.by_weights).add_(total)
        desk.per_head[1].tril_()
        torch.bmm(desk.by_weights, self.keys, out=desk.by_queries)
        torch.bmm(desk.by_weights_t, self.queries, out=desk.by_keys)
        torch.bmm(desk.weights_t, found, out=desk.by_values)

    def _write(self, grads: tuple[Tensor, Tensor, Tensor]) -> None:
        by_q, by_k, by_v = grads
        (queries, _, by_queries, _), (keys, _, by_keys, by_values, _) = self.desk.like_q, self.desk.like_k
        self.feature.queries_back(self.q, queries, by_queries, by_q)
        self.feature.keys_back(self.k, keys, by_keys, by_k)
        by_v.copy_(by_values)
        self._hide(by_k), self._hide(by_v)


def _elu(x: Tensor, out: Tensor, spare: Tensor) -> Tensor:
    """elu(x) + 1 = 2^(min(x, 0) log₂ e) + max(x, 0). On a CPU, 2^x takes a third of the time of eˣ, and elu's own
    expm1 yet more.
    """
    torch.mul(x, LOG2E, out=out).clamp_(max=0).exp2_()
    return out.add_(torch.clamp(x, min=0, out=spare))
