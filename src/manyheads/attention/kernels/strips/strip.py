"""What a strip can do: take its queries and its keys out of the whole, and give gradients back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """rows, heads, kv_heads of the batch, and how many scores a strip should have."""

    rows: int
    heads: int
    kv_heads: int
    scores: int

    @property
    def share(self) -> int:
        """Query heads per key-value head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, eq=False)
class Strip(ABC):
    """A batch of (queries x, d) against (keys y, d); x counts the query heads that share keys one after the other.

    added: what is added to the scores, −∞ where nothing may be seen; broadcasts to `grid` of the scores. None: nothing.
    added_to: the columns of the scores that `added` speaks of.
    blind: queries that see nothing; their rows of `added` are left as if they saw everything, and their weights zeroed.
    """

    added: Float[Tensor, "..."] | None
    added_to: slice
    blind: Bool[Tensor, "..."] | None

    @property
    @abstractmethod
    def held(self) -> int:
        """How many queries it has, over all its rows and heads."""

    @abstractmethod
    def queries(self, x: Float[Tensor, "b h n d"]) -> Float[Tensor, "s x d"]:
        """The strip's part of the queries, or of anything shaped like them."""

    @abstractmethod
    def keys(self, x: Float[Tensor, "b g m d"]) -> Float[Tensor, "s y d"]:
        """The strip's part of the keys or values."""

    @abstractmethod
    def put(self, part: Float[Tensor, "s x d"], whole: Float[Tensor, "b h n d"]) -> None:
        """Writes the strip's part of an output or a query's gradient; each query is in one strip."""

    @abstractmethod
    def add(self, part: Float[Tensor, "s y d"], whole: Float[Tensor, "b g m d"]) -> None:
        """Adds the strip's part of a gradient of keys or values."""

    @abstractmethod
    def grid(self, scores: Float[Tensor, "s x y"]) -> Float[Tensor, "..."]:
        """The scores in the shape to which `added`, `blind` and `shifted` broadcast."""

    def biased(self, scores: Float[Tensor, "s x y"]) -> Float[Tensor, "s x y"]:
        """The scores with a bias, where `added` does not hold it."""
        return scores

    @abstractmethod
    def shifted(self, shift: Float[Tensor, "#b #h n"]) -> Float[Tensor, "..."]:
        """The strip's part of what is added to each query's scores."""


def hidden(seen: Bool[Tensor, "... n m"], dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """(added, blind) of a mask: zeros and −∞, with blind rows left open; None where there is nothing to say."""
    blind = ~seen.any(-1, keepdim=True)
    if not blind.any():
        blind = None
    return shut(seen if blind is None else seen | blind, dtype)[0], blind


def shut(seen: Bool[Tensor, "... n m"], dtype: torch.dtype) -> tuple[Tensor | None, None]:
    """The same where every query sees something elsewhere, too."""
    if seen.all():
        return None, None
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf")), None
