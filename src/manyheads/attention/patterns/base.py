"""What a pattern owes: its definition, `allowed`, and the spans of keys that a run of queries needs, to skip the rest.

All indices are absolute positions of one sequence, int64 tensors that broadcast.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

Span = tuple[Tensor, Tensor]
"""First key position, and the one behind the last; empty where the second is not above the first."""

Length = int | Tensor


@dataclass(frozen=True)
class Pattern(ABC):
    """Static sparsity. Patterns of equal values are equal, so that layers share what is derived from one."""

    @abstractmethod
    def allowed(self, h: Tensor, i: Tensor, j: Tensor, length: Length, causal: bool) -> Bool[Tensor, "..."]:
        """Whether query position i of head h may look at position j, in a sequence of `length` keys.

        `causal` selects the variant of patterns that have two; the future is hidden by the mask, not here.
        """

    def spans(self, h: Tensor, first: Tensor, last: Tensor, length: Length, causal: bool) -> list[Span]:
        """Spans that hold every key that some query from `first` to `last` (inclusive) of head h may see.

        They may overlap, and may hold too much. Without a better answer: everything.
        """
        return [(first * 0, first * 0 + length)]

    def whole(
        self, h: Tensor, first: Tensor, last: Tensor, low: Tensor, high: Tensor, length: Length, causal: bool
    ) -> Bool[Tensor, "..."]:
        """Where each query from `first` to `last` may see each key in [low, high). False is always safe."""
        return (first > last) & (low > high)

    @property
    def per_head(self) -> bool:
        """Whether heads differ."""
        return True

    @property
    def tile(self) -> int:
        """Side of the tiles into which it falls best."""
        return 64

    def relative(self, first: int, runs: tuple[tuple[int, int], ...]) -> bool:
        """Whether, from query position `first` on and in these runs of keys, only distances count."""
        return False

    def at(self, layer: int) -> "Pattern":
        """The pattern of this layer, where layers differ."""
        return self
