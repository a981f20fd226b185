"""No positions: what is left is a bag of tokens, or, under a causal mask, what the mask itself tells."""

from manyheads.position.base import Position


class NoPosition(Position):
    """Every hook hands on what it was given."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
