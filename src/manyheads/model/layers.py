"""The parts of a transformer block. `MultiHead` owns the projections, its attention only how queries read keys.

What can be pruned (a `Part`) has units, each weighed by a `Gate`: `makes` names the projections whose rows are a
unit's, `last` the one whose columns are.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias, of_heads
from manyheads.attention.layers import across
from manyheads.attention.mask import Mask
from manyheads.errors import UserError
from manyheads.model.cache import LayerCache
from manyheads.model.gate import Gate
from manyheads.position.base import Position, Start

Factory = Callable[..., nn.Module]


class Part(nn.Module):
    """Units side by side: heads of an attention, neurons of a feed-forward part.

    kind: what the units are. makes: names of the projections that make units out of states. last: what mixes them.
    of: how many it began with. kept: which of them are left, ascending.
    """

    kind: str
    makes: tuple[str, ...]
    last: nn.Linear

    def __init__(self, units: int, axis: int) -> None:
        super().__init__()
        self.of, self.kept, self.unit_gate = units, tuple(range(units)), Gate(axis)

    @property
    def units(self) -> int:
        return len(self.kept)


class MultiHead(Part):
    """Projects to heads, lets them read, and mixes what they found."""

    kind, makes = "heads", ("q", "kv")

    def __init__(
        self, dim: int, heads: int, head_dim: int, layer: int, attention: Callable[..., Attention], bias: bool
    ) -> None:
        super().__init__(heads, axis=-3)
        self.attention = attention(heads=heads, head_dim=head_dim, layer=layer)
        self.q = nn.Linear(dim, heads * head_dim, bias=bias)
        self.kv = nn.Linear(dim, 2 * self.attention.kv_heads * head_dim, bias=bias)
        self.out = nn.Linear(heads * head_dim, dim, bias=bias)

    @property
    def last(self) -> nn.Linear:
        return self.out

    def queries(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b h n d"]:
        return rearrange(self.q(x), "b n (h d) -> b h n d", d=self.attention.head_dim)

    def keys_values(self, x: Float[Tensor, "b m dim"]) -> tuple[Float[Tensor, "b g m d"], Float[Tensor, "b g m d"]]:
        k, v = rearrange(self.kv(x), "b m (two g d) -> two b g m d", two=2, d=self.attention.head_dim)
        return k, v

    def read(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Float[Tensor, "b h n d"]:
        """What the queries find; a UserError where this attention cannot run on these inputs."""
        self.check(q, k, mask, bias)
        return self.attention.attend(q, k, v, mask, bias)

    def check(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> None:
        """A UserError where this attention cannot run on these inputs."""
        reason = self.attention.why_not(q, k, mask, bias)
        if reason is not None:
            raise UserError(reason)

    def mix(self, read: Float[Tensor, "b h n d"]) -> Float[Tensor, "b n dim"]:
        return self.out(rearrange(self.unit_gate(read), "b h n d -> b n (h d)"))


class SelfAttention(MultiHead):
    """Tokens read each other."""

    _sliced: tuple[Bias | None, bool, Bias | None] = (None, False, None)

    def bias(self, position: Position) -> Bias | None:
        """What `position` adds to the scores of the heads that are there."""
        bias, heads = position.bias, self.kept
        if bias is None or len(heads) == self.of:
            return bias
        # What is sliced in inference mode, where nothing has gradients, cannot serve training.
        trained = torch.is_grad_enabled()
        if self._sliced[0] is not bias or self._sliced[1] != trained:
            device = (bias if isinstance(bias, Tensor) else bias.slopes).device
            self._sliced = bias, trained, of_heads(bias, torch.tensor(heads, device=device))
        return self._sliced[2]

    def forward(
        self,
        x: Float[Tensor, "b n dim"],
        mask: Mask,
        position: Position,
        start: Start,
        cache: LayerCache | None,
    ) -> Float[Tensor, "b n dim"]:
        q, (k, v) = self.queries(x), self.keys_values(x)
        q, k = position.rotate(q, k, start)
        if cache is not None and self.attention.recurrent and not _is_prompt(x, start):
            self.check(q, k, mask, self.bias(position))
            return self.mix(cache.advance(self.attention, q, k, v, start))
        if cache is not None:
            k, v = cache.append(k, v, start)
            k, v = k[:, :, : mask.keys], v[:, :, : mask.keys]
        return self.mix(self.read(q, k, v, mask, self.bias(position)))


def _is_prompt(x: Tensor, start: Start) -> bool:
    """Whether these are the first tokens, several at once: rows of different lengths, padded."""
    return x.size(1) > 1 and isinstance(start, int) and start == 0


class CrossAttention(MultiHead):
    """Tokens read a context; hypotheses of one sentence read the same one, side by side as further queries."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, layer: int, attention: Callable[..., Attention], bias: bool
    ) -> None:
        super().__init__(dim, heads, head_dim, layer, across(attention), bias)

    def forward(
        self,
        x: Float[Tensor, "r n dim"],
        context: Float[Tensor, "b m dim"],
        mask: Mask,
        cache: LayerCache | None,
    ) -> Float[Tensor, "r n dim"]:
        k, v = self._context(context, cache)
        q = rearrange(self.queries(x), "(b width) h n d -> b h (width n) d", b=k.size(0))
        read = self.read(q, k, v, mask)
        return self.mix(rearrange(read, "b h (width n) d -> (b width) h n d", n=x.size(1)))

    def _context(self, context: Tensor, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        if cache is None:
            return self.keys_values(context)
        if cache.context is None:
            cache.context = self.keys_values(context)
        return cache.context


class Neurons(Part):
    """`hidden` neurons, which `down` mixes."""

    kind = "neurons"

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, axis=-1)

    @property
    def last(self) -> nn.Linear:
        return self.down


class SwiGLU(Neurons):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020, eq. 6), without biases; `hidden` is the width of each branch."""

    makes = ("gate", "up")

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        return self.down(self.unit_gate(F.silu(self.gate(x)) * self.up(x)))


class FeedForward(Neurons):
    """down(relu(up(x))) (Vaswani et al. 2017, eq. 2)."""

    makes = ("up",)

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        return self.down(self.unit_gate(F.relu(self.up(x))))


class Constant(nn.Module):
    """What a part without units still says: the bias of its last projection."""

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Float[Tensor, "b n dim"], *reads) -> Float[Tensor, "b n dim"]:
        # Under no_grad, too, a view of a weight asks for gradients, on which torch's counter of operations stumbles.
        bias = self.bias if torch.is_grad_enabled() else self.bias.detach()
        return bias.to(x.dtype).expand_as(x)


class Residual(nn.Module):
    """A sublayer with its norm, dropout and the way around it: x + f(norm(x)), or norm(x + f(x)) as in 2017.

    Where pruning has removed the sublayer (`inner` None), x or norm(x) is left. gate: weighs the whole sublayer.
    kind, of: which units it began with, and how many; None and 0 where it knows none.
    """

    def __init__(self, inner: nn.Module, norm: nn.Module, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.inner, self.norm, self.pre_norm = inner, norm, pre_norm
        self.dropout, self.gate = nn.Dropout(dropout), Gate(None)
        self.kind, self.of = (inner.kind, inner.of) if isinstance(inner, Part) else (None, 0)

    def forward(self, x: Float[Tensor, "b n dim"], *reads) -> Float[Tensor, "b n dim"]:
        if self.inner is None:
            return x if self.pre_norm else self.norm(x)
        if self.pre_norm:
            return x + self.dropout(self.gate(self.inner(self.norm(x), *reads)))
        return self.norm(x + self.dropout(self.gate(self.inner(x, *reads))))


class Block(nn.Module):
    """Tokens read each other, then (where `cross`) a context, then think for themselves.

    layer: the number of the block in its stack, from 0; norm: factory of a norm over `dim`; feedforward: factory of a
    module dim → dim; pre_norm: where the norm sits; bias: whether the projections of attention have one.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        layer: int,
        hidden: int,
        dropout: float,
        cross: bool,
        attention: Callable[..., Attention],
        norm: Factory,
        feedforward: Factory,
        pre_norm: bool,
        bias: bool,
    ) -> None:
        super().__init__()

        def residual(inner: nn.Module) -> Residual:
            return Residual(inner, norm(dim), dropout, pre_norm)

        size = {"dim": dim, "heads": heads, "head_dim": head_dim, "layer": layer}
        shape = {**size, "attention": attention, "bias": bias}
        self.read_own = residual(SelfAttention(**shape))
        self.read_context = residual(CrossAttention(**shape)) if cross else None
        self.think = residual(feedforward(dim=dim, hidden=hidden))
        # Post-norm blocks leave normed; pre-norm ones leave a sum that a head cannot read as it is.
        self.closing_norm = norm if pre_norm else nn.Identity

    def forward(
        self,
        x: Float[Tensor, "b n dim"],
        mask: Mask,
        position: Position,
        start: Start = 0,
        context: tuple[Float[Tensor, "b m dim"], Mask] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "b n dim"]:
        x = self.read_own(x, mask, position, start, cache)
        if self.read_context is not None:
            x = self.read_context(x, *context, cache)
        return self.think(x)
