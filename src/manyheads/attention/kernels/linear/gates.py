"""How much of what has been summed reaches whom, where not all of it counts in full.

Two things make a key count differently for different queries: documents (sums start anew where one begins), and the
stabiliser of a feature map (sums shrink when a larger key comes). Both are factors in [0, 1] that depend on the keys'
`top` and documents alone; none exceeds 1, so nothing overflows, and no key reaches a query before it.

The sums carried from earlier chunks stand in front of a chunk's own keys as one more key, number 0.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Ranks(NamedTuple):
    """Of m keys, or of the sums that stand for earlier ones (m = 1): the largest top, and whose document."""

    top: Float[Tensor, "b g m"]
    document: Int[Tensor, "b m"]

    def then(self, other: "Ranks") -> "Ranks":
        return Ranks(torch.cat((self.top, other.top), dim=-1), torch.cat((self.document, other.document), dim=-1))


class Gate(NamedTuple):
    """What each of c readers gets of m keys: `factor` of the stabilised part, `seen` (0 or 1) of the floor."""

    factor: Float[Tensor, "b g c m"]
    seen: Float[Tensor, "b g c m"]
    level: Float[Tensor, "b g c"]

    def key(self, which: slice) -> "Gate":
        return Gate(self.factor[..., which], self.seen[..., which], self.level)


def lowest(dtype: torch.dtype) -> float:
    """Below any top that can occur; finite, since the difference of two infinities is NaN."""
    return torch.finfo(dtype).min / 4


def nothing(top: Float[Tensor, "b g m"], document: Int[Tensor, "b m"]) -> Ranks:
    """The ranks of sums over no key."""
    return Ranks(torch.full_like(top[..., :1], lowest(top.dtype)), document[:, :1])


def gate(ranks: Ranks, allowed: Bool[Tensor, "b c m"]) -> Gate:
    """What readers get of keys they are `allowed` to see. A level is the largest top that a reader sees."""
    allowed = allowed.unsqueeze(1)
    top = torch.where(allowed, ranks.top.unsqueeze(2), lowest(ranks.top.dtype))
    level = top.amax(-1)
    factor = torch.where(allowed, (top - level.unsqueeze(-1)).exp_(), 0.0)
    return Gate(factor, allowed.to(factor.dtype).expand_as(factor), level)


def readers(ranks: Ranks, document: Int[Tensor, "b c"]) -> Gate:
    """The queries of a chunk read the carried sums, and its keys up to their own position (all where c ≠ m)."""
    allowed = document.unsqueeze(2) == ranks.document.unsqueeze(1)
    causal = torch.ones(allowed.shape[1:], dtype=torch.bool, device=allowed.device).tril(1)
    return gate(ranks, allowed & causal)


def writer(ranks: Ranks) -> tuple[Gate, Ranks]:
    """What goes into the next sums: all that is of the last key's document. And the ranks of these sums."""
    document = ranks.document[:, -1:]
    made = gate(ranks, (ranks.document == document).unsqueeze(1))
    return made, Ranks(made.level, document)
