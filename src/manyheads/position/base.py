"""Where order enters: three hooks that do nothing, of which each scheme overrides one."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.attention.bias import Bias

Start = int | Int[Tensor, "b"]
"""Absolute position of the first token given: a number, or one per row when rows have caches of different lengths."""


class Position(nn.Module):
    """No positions at all; the base of every scheme.

    limit: most positions that the scheme can tell apart, or None where there is no bound.
    """

    limit: int | None = None

    def embed(self, x: Float[Tensor, "b n dim"], start: Start) -> Float[Tensor, "b n dim"]:
        """Embedded tokens with their positions marked."""
        return x

    def keep(self, dims: tuple[int, ...]) -> None:
        """Goes on with these dimensions of what it embeds alone, by their present places (pruning)."""

    def rotate(
        self, q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g n d"], start: Start
    ) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b g n d"]]:
        """Queries and keys of the same tokens, turned by their positions (self-attention alone)."""
        return q, k

    @property
    def bias(self) -> Bias | None:
        """What is added to the scores of self-attention."""
        return None
