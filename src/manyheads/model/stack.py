"""A tower of blocks: every shape of transformer is one or two of these."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from manyheads.attention.base import Attention
from manyheads.attention.mask import Mask
from manyheads.errors import UserError
from manyheads.model.cache import LayerCache
from manyheads.model.layers import Block
from manyheads.position.base import Position, Start


class Stack(nn.Module):
    """`layers` blocks over embedded tokens, positions included.

    head_dim None means dim / heads. `block`, `attention`, `norm` and `position` are factories.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int | None,
        hidden: int,
        layers: int,
        dropout: float,
        cross: bool,
        block: Callable[..., Block],
        attention: Callable[..., Attention],
        position: Callable[..., Position],
    ) -> None:
        super().__init__()
        head_dim = head_size(dim, heads) if head_dim is None else head_dim
        size = {"dim": dim, "heads": heads, "head_dim": head_dim}
        self.position = position(**size)
        self.dropout = nn.Dropout(dropout)
        parts = {"hidden": hidden, "dropout": dropout, "cross": cross, "attention": attention}
        self.blocks = nn.ModuleList(block(**size, **parts, layer=layer) for layer in range(layers))
        self.norm = self.blocks[-1].closing_norm(dim)

    def forward(
        self,
        x: Float[Tensor, "b n dim"],
        mask: Mask,
        start: Start = 0,
        context: tuple[Float[Tensor, "b m dim"], Mask] | None = None,
        caches: list[LayerCache] | None = None,
    ) -> Float[Tensor, "b n dim"]:
        x = self.dropout(self.position.embed(x, start))
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, mask, self.position, start, context, cache)
        return self.norm(x)

    def caches(self) -> list[LayerCache]:
        """Empty stores for decoding, one per layer."""
        return [LayerCache() for _ in self.blocks]


def blocks(model: nn.Module) -> list[Block]:
    """Of all stacks of a model, in order."""
    return [module for module in model.modules() if isinstance(module, Block)]


def head_size(dim: int, heads: int) -> int:
    """dim / heads, or the reason why that is no size."""
    if dim % heads:
        fitting = ", ".join(str(h) for h in range(1, dim + 1) if dim % h == 0 and h <= 2 * heads)
        raise UserError(
            f"model.dim={dim} is not divisible by model.heads={heads}; "
            f"choose heads from {fitting}, or set model.head_dim."
        )
    return dim // heads
