"""Plain torch, any device: parallel within chunks of positions, recurrent between them; cost grows with n + m.

With S the sums Σ_j φ(k_j) v_jᵀ and z the sum Σ_j φ(k_j) over all earlier chunks, a chunk reads φ(q) S and, of its own
keys, the lower triangle of φ(q) φ(k)ᵀ times v; then its keys go into S and z. The denominator is φ(q) z and the row
sums of that triangle. A query that stands behind all keys reads S and z alone: bidirectional attention is a causal one
whose queries come last.

Where all keys count in full, several chunks go through at once (`run`); elsewhere each has its gates (`gated`).

The backward goes through the chunks once, last first, with dS coming from behind and S as it was before each chunk
(kept by the forward: F/chunk numbers per value). Feature maps and weights are made again: all that a chunk needs fits
the cache, and memory beyond inputs, outputs and gradients stays small.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.gated import GatedPart
from manyheads.attention.kernels.linear.part import Part
from manyheads.attention.kernels.linear.placing import place
from manyheads.attention.kernels.linear.plain import Desk, PlainPart
from manyheads.attention.kernels.linear.run import Run
from manyheads.attention.mask import Mask

ALONE = 4
"""Where there are only keys or only queries, no pair is computed: chunks may be this many times as long."""

TOGETHER, HEADS = 4, 8
"""So many chunks go through at once where nothing but their order tells them apart and a batch has fewer heads."""


def why_not(q: Tensor, k: Tensor, mask: Mask, feature: FeatureMap) -> str | None:
    return None


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    feature: FeatureMap,
    eps: float,
) -> Float[Tensor, "b h n d"]:
    """Σ_j w_ij v_j / (Σ_j w_ij + eps), as `reference` defines it."""
    if torch.compiler.is_compiling():
        return _untraced()(q, k, v, mask, feature, eps)
    return _attend(q, k, v, mask, feature, eps)


@cache
def _untraced() -> Callable[..., Tensor]:
    """`_attend` out of sight of torch.compile, which would unroll the loop over chunks; its import takes seconds."""
    return torch.compiler.disable(_attend)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, feature: FeatureMap, eps: float) -> Tensor:
    def read(q: Tensor, offset: int, seen: Tensor | None, documents: Tensor | None) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            return Chunked.apply(q, k, v, Plan(feature, eps, offset, seen, documents))

    return place(q, mask, read)


@dataclass(frozen=True)
class Plan:
    """offset: position of query 0 among the keys; each query sees the keys up to its own position that are `seen` and
    of its own document. Documents are given only where every query stands on a key.
    """

    feature: FeatureMap
    eps: float
    offset: int
    seen: Bool[Tensor, "b m"] | None
    documents: Int[Tensor, "b m"] | None

    def sizes(self, q: Tensor, k: Tensor) -> tuple[list[int], list[int]]:
        """How many queries and keys each chunk has: keys before all queries, then queries on keys, then queries behind
        all keys. Keys behind the last query are in none.
        """
        n, m = q.size(2), k.size(2)
        step, before = self.feature.chunk, min(self.offset, m)
        shared = max(0, min(m - self.offset, n))
        together = self.together(q)
        whole = shared - shared % (together * step)
        on = _steps(whole, together * step) + _steps(shared - whole, step)
        alone, behind = _steps(before, ALONE * step), _steps(n - shared, ALONE * step)
        return [0] * len(alone) + on + behind, alone + on + [0] * len(behind)

    def parts(self, q: Tensor, k: Tensor, v: Tensor) -> list[Callable[[], Part]]:
        """What makes each chunk's part; what it makes is large, so it is made when its turn comes."""
        queries, keys = self.sizes(q, k)
        end = sum(keys)
        qs, ks, vs = q.split(queries, 2), k[:, :, :end].split(keys, 2), v[:, :, :end].split(keys, 2)
        hidden = [None] * len(keys)
        make = partial(self._part, desk=self._desk(q, k, v))
        if self.seen is not None:
            hidden = (~self.seen[:, None, :end, None]).split(keys, 2)
        if self.documents is None:
            return [partial(make, *each, None) for each in zip(qs, ks, vs, hidden, strict=True)]
        asking = self.documents[:, self.offset :][:, : q.size(2)].split(queries, 1)
        documents = zip(self.documents[:, :end].split(keys, 1), asking, strict=True)
        return [partial(make, *each) for each in zip(qs, ks, vs, hidden, documents, strict=True)]

    def _desk(self, q: Tensor, k: Tensor, v: Tensor) -> Desk | None:
        """Where the chunks of the plainest case are computed, one after the other."""
        if self.feature.name == "elu" and self._ungated and self.together(q) == 1:
            return Desk(q, k, self.feature.chunk, exact(v))
        return None

    def _part(
        self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None, documents: tuple | None, desk: Desk | None
    ) -> Part:
        q, k, v = (x if x.dtype == exact(v) else x.to(exact(v)) for x in (q, k, v))
        if not self._ungated:
            return GatedPart(self.feature, q, k, v, hidden, documents)
        if desk is not None and q.size(2) == k.size(2) == self.feature.chunk:
            return PlainPart(self.feature, q, k, v, hidden, desk)
        if q.size(2) == k.size(2) == TOGETHER * self.feature.chunk:
            return Run(self.feature, q, k, v, hidden, TOGETHER)
        return Part(self.feature, q, k, v, hidden)

    def together(self, q: Tensor) -> int:
        """How many chunks go through at once."""
        return TOGETHER if self._ungated and q.size(0) * q.size(1) < HEADS else 1

    @property
    def _ungated(self) -> bool:
        """Whether every key counts in full for every query that sees it."""
        return self.documents is None and not self.feature.stabilised


class Chunked(torch.autograd.Function):
    """(q, k, v, plan) -> out, chunk after chunk."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
        out, totals = torch.empty_like(q, dtype=v.dtype), q.new_empty(*q.shape[:3], 1, dtype=exact(v))
        asked, _ = plan.sizes(q, k)
        carry, carries = None, []
        for make, *answer in zip(plan.parts(q, k, v), out.split(asked, 2), totals.split(asked, 2), strict=True):
            part = make().continuing(carry)
            carries.append(part.carry)
            if part.q.size(2):
                _answer(part, plan.eps, *answer)
            carry = part.after()
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(q, k, v, out, totals)
            ctx.carries, ctx.plan = carries, plan
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        # Where it is called may be inside autocast, which would give the products another type than their sums.
        with torch.autocast(grad.device.type, enabled=False):
            return *_back(ctx, grad), None


def _back(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, out, totals = ctx.saved_tensors
    grads = tuple(torch.empty_like(x) for x in (q, k, v))
    asked, read = ctx.plan.sizes(q, k)
    for x in grads[1:]:
        x[:, :, sum(read) :] = 0  # Nobody reads keys behind the last query.
    answers = zip(*(x.split(asked, 2) for x in (grad, out, totals)), strict=True)
    by = zip(grads[0].split(asked, 2), *(x[:, :, : sum(read)].split(read, 2) for x in grads[1:]), strict=True)
    chunks = list(zip(ctx.plan.parts(q, k, v), ctx.carries, answers, by, strict=True))
    by_carry = None
    for make, carry, answer, parts in reversed(chunks):
        part = make().continuing(carry)
        by_carry = part.back(part.by_read(*answer), by_carry, parts)
    return grads


def exact(v: Tensor) -> torch.dtype:
    """What sums and divisions are made in."""
    return torch.promote_types(v.dtype, torch.float32)


def _steps(length: int, step: int) -> list[int]:
    return [min(step, length - at) for at in range(0, length, step)]


def _answer(part: Part, eps: float, out: Float[Tensor, "b h c d"], totals: Float[Tensor, "b h c 1"]) -> None:
    """Writes what the chunk's queries read, and its denominators."""
    found, total = part.read()
    torch.add(total, eps, out=totals)
    if not eps:
        # Nothing seen, nothing read; also where every weight is too small for its type.
        totals.masked_fill_(totals == 0, 1.0)
    torch.div(found, totals, out=out)
