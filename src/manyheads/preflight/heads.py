"""The attention modules of a model: where they sit, whether their sizes fit, and inputs to ask them with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from manyheads.attention.auto import Auto
from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.of_heads import OfHeads
from manyheads.attention.rules import SOFTMAX
from manyheads.model.layers import CrossAttention, MultiHead
from manyheads.model.stack import Stack
from manyheads.preflight.findings import Finding


@dataclass(frozen=True)
class Seat:
    """An attention in its place. name: of the layer that owns it; bias: what the positions there add to scores."""

    name: str
    attention: Attention
    causal: bool
    cross: bool
    bias: Bias | None

    def mask(self, queries: int, keys: int, **more) -> Mask:
        return Mask(queries, keys, causal=self.causal, cross=self.cross, **more)

    def draw(self, rows: int, queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """q, k and v of unit variance, from a generator of its own."""
        dice, d = torch.Generator().manual_seed(0), self.attention.head_dim
        counts = ((self.attention.heads, queries), (self.attention.kv_heads, keys), (self.attention.kv_heads, keys))
        drawn = [torch.randn(rows, heads, length, d, generator=dice) for heads, length in counts]
        return [x.to(device, dtype) for x in drawn]


def seats(model: nn.Module) -> list[Seat]:
    """One seat for each attention that differs from those before it, or sits where the mask is another."""
    found: dict[tuple, Seat] = {}
    for seat in _all_seats(model):
        kind = (type(seat.attention), _words(seat.attention), seat.causal, seat.cross, seat.bias is None)
        found.setdefault(kind, seat)
    return list(found.values())


def _words(attention: Attention) -> str:
    """What it is, but for the dice of its pattern, and for which of its heads are left: layers that differ in them
    alone are checked once.
    """
    pattern = getattr(attention, "pattern", None)
    whole = pattern.pattern if isinstance(pattern, OfHeads) else pattern
    same = replace(whole, seed=0) if hasattr(whole, "seed") else whole
    return str(attention).replace(str(pattern), str(same))


def _all_seats(model: nn.Module) -> Iterator[Seat]:
    for prefix, stack in model.named_modules():
        if isinstance(stack, Stack):
            for name, layer in stack.named_modules(prefix=prefix):
                if isinstance(layer, MultiHead):
                    yield _seat(name, layer, stack, prefix.endswith("decoder"))


def _seat(name: str, layer: MultiHead, stack: Stack, causal: bool) -> Seat:
    attention, cross = layer.attention, isinstance(layer, CrossAttention)
    if isinstance(attention, Auto) and attention.rule != SOFTMAX:
        attention = attention.rules[attention.rule]
    return Seat(name, attention, causal and not cross, cross, None if cross else layer.bias(stack.position))


def divide(model: nn.Module) -> Finding:
    """Key-value heads divide query heads, and projections are as wide as the heads together."""
    for name, layer in model.named_modules():
        if isinstance(layer, MultiHead) and (wrong := _misfit(layer)):
            return Finding("heads", False, f"{name} {wrong}")
    return Finding("heads", True, "heads and projections fit together")


def _misfit(layer: MultiHead) -> str | None:
    h, g, d = layer.attention.heads, layer.attention.kv_heads, layer.attention.head_dim
    if g < 1 or h % g:
        return f"has {g} key-value heads, which do not divide its {h} query heads"
    widths = {"q": layer.q.out_features, "kv": layer.kv.out_features, "out": layer.out.in_features}
    wanted = {"q": h * d, "kv": 2 * g * d, "out": h * d}
    for part, width in wanted.items():
        if widths[part] != width:
            return f"does not fit its heads: {part} is {widths[part]} wide instead of {width}"
    return None
