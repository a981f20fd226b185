"""The contract of every attention: `attend`, and `why_not`, the reason why it cannot."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.attention.bias import Bias
from manyheads.attention.mask import Mask
from manyheads.errors import UserError


class Attention(nn.Module, ABC):
    """How queries read keys. The projections around it belong to the block that owns it.

    heads, kv_heads: query heads h and key-value heads g; g divides h, and query head i reads key-value head ⌊i·g/h⌋.
        `kv_heads` None means as many as `heads`.
    head_dim: d, the size of one head.
    layer: the number of the block it belongs to, from 0, for what differs between layers.
    """

    exact: bool
    """Whether the rule computes its own definition exactly, so that kernels may stand in for each other."""

    recurrent: bool = False
    """Whether decoding may carry a state of constant size (`advance`) instead of all earlier keys and values."""

    def __init__(self, heads: int, head_dim: int, layer: int, kv_heads: int | None) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if kv_heads < 1 or heads % kv_heads:
            fitting = ", ".join(str(g) for g in range(1, heads + 1) if heads % g == 0)
            raise UserError(
                f"attention.kv_heads={kv_heads} does not divide the {heads} query heads; choose one of {fitting}."
            )
        self.heads, self.head_dim, self.layer, self.kv_heads = heads, head_dim, layer, kv_heads

    @abstractmethod
    def attend(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b g m d"],
        v: Float[Tensor, "b g m d"],
        mask: Mask,
        bias: Bias | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """What each query reads. A query that sees no key gives zeros, with zero gradient."""

    @abstractmethod
    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        """Why this attention cannot run on these inputs here, as the user's error, or None if it can."""

    def weights(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b g m d"],
        mask: Mask,
        bias: Bias | None = None,
        rows: Int[Tensor, "r"] | None = None,
    ) -> Float[Tensor, "b h r m"]:
        """How much the queries `rows` (None: all) read of each key: the rows of W where `attend` gives W v.

        In at least fp32, without dropout, and from whatever kernel computes. A UserError where the rule has no such W.
        """
        raise UserError(f"attention={type(self).__name__.lower()} has no `weights`, so that there is no map to draw.")

    def keep(self, heads: tuple[int, ...], kv_heads: tuple[int, ...]) -> None:
        """Goes on with these query heads and key-value heads alone, in this order (pruning).

        A rule that owns anything for each head takes what belongs to the kept ones, and calls this.
        """
        self.heads, self.kv_heads = len(heads), len(kv_heads)

    @property
    def used(self) -> str:
        """What really computes: the name that a run records as `attention_used`."""
        return type(self).__name__.lower()

    def extra_repr(self) -> str:
        return f"heads={self.heads}, kv_heads={self.kv_heads}, head_dim={self.head_dim}"
