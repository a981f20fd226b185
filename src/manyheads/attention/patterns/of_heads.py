"""A pattern seen by some of the heads that it was made for: those that pruning has left."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyheads.attention.patterns.base import Length, Pattern, Span


@dataclass(frozen=True)
class OfHeads(Pattern):
    """`pattern`, whose head `heads[h]` is head h here."""

    pattern: Pattern
    heads: tuple[int, ...]

    def allowed(self, h: Tensor, i: Tensor, j: Tensor, length: Length, causal: bool) -> Bool[Tensor, "..."]:
        return self.pattern.allowed(self._own(h), i, j, length, causal)

    def spans(self, h: Tensor, first: Tensor, last: Tensor, length: Length, causal: bool) -> list[Span]:
        return self.pattern.spans(self._own(h), first, last, length, causal)

    def whole(
        self, h: Tensor, first: Tensor, last: Tensor, low: Tensor, high: Tensor, length: Length, causal: bool
    ) -> Bool[Tensor, "..."]:
        return self.pattern.whole(self._own(h), first, last, low, high, length, causal)

    @property
    def tile(self) -> int:
        return self.pattern.tile

    def relative(self, first: int, runs: tuple[tuple[int, int], ...]) -> bool:
        return self.pattern.relative(first, runs)

    def _own(self, h: Tensor) -> Int[Tensor, "..."]:
        # A head behind the last is one that a kernel asks for to fill up a tile; what it sees is not looked at.
        return torch.tensor(self.heads, device=h.device)[h.clamp(max=len(self.heads) - 1)]


def of_heads(pattern: Pattern | None, heads: tuple[int, ...]) -> Pattern | None:
    """What these heads see of it, in their order; itself where heads do not differ."""
    if pattern is None or not pattern.per_head:
        return pattern
    if isinstance(pattern, OfHeads):
        return OfHeads(pattern.pattern, tuple(pattern.heads[h] for h in heads))
    return OfHeads(pattern, heads)
