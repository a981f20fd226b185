"""The arithmetic that an attention's rule cannot do without, whichever kernel computes it.

| rule | forward, per head |
|---|---|
| softmax, sigmoid | 4 · d for each pair of query and key that the mask allows: its score, and its share of the value |
| feature maps | 2 · F · d for each key, which joins the sums, and for each query, which reads them |
| random features | as much again for each of both, to make them |

A training takes three times that: every product has two in the backward (random features one: their directions learn
nothing). What a kernel does beyond, such as scores that are hidden afterwards or made again in the backward, is not the
rule's, and padding is nobody's. Exponentials and sums are not counted, as everywhere in the field.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.exact import Exact
from manyheads.attention.features import Favor
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.tiles import counts


def flops(attention: Attention, q: Tensor, k: Tensor, mask: Mask, trained: bool) -> float | None:
    """Of one `attend`, and of its backward where `trained`; None for a rule that nobody has counted.

    An attention that is none of ours may have a method `flops` with the arguments behind the first.
    """
    own: Callable[..., float] | None = getattr(attention, "flops", None)
    if own is not None:
        return own(q, k, mask, trained)
    rule = getattr(attention, "rule", None)
    if rule in getattr(attention, "rules", ()):
        return flops(attention.rules[rule], q, k, mask, trained)
    if isinstance(attention, Exact):
        return 4 * q.size(-1) * pairs(mask.within(attention.pattern), q) * (3 if trained else 1)
    return _sums(attention, q, k, mask, trained) if isinstance(attention, Linear) else None


def pairs(mask: Mask, q: Tensor) -> int:
    """How many pairs of a real query and a key that it may see there are, over the rows and heads of q (b, h, n, d)."""
    seen = counts(mask, q.size(1), q.device).expand(*q.shape[:3])
    return int((seen * _real(mask, q).unsqueeze(1)).sum())


def _sums(attention: Linear, q: Tensor, k: Tensor, mask: Mask, trained: bool) -> float:
    feature, d = attention.feature(), q.size(-1)
    drawn = isinstance(feature, Favor)
    features = feature.directions.size(0) if drawn else d
    asking = int(_real(mask, q).sum()) * q.size(1)
    told = (k.size(0) * k.size(2) if mask.lengths is None else int(mask.lengths.sum())) * k.size(1)
    products = 2 * features * d * (asking + told)
    made = products if drawn else 0
    return (3 if trained else 1) * products + (2 if trained else 1) * made


def _real(mask: Mask, q: Tensor) -> Tensor:
    """(b, n): which queries are no padding, as far as the mask tells: between two sequences it speaks of keys alone."""
    b, n = q.size(0), q.size(2)
    every = torch.ones(b, n, dtype=torch.bool, device=q.device)
    if mask.cross:
        return every
    offset = mask.offset.view(-1, 1) if isinstance(mask.offset, Tensor) else mask.offset
    position = torch.arange(n, device=q.device).view(1, -1) + offset
    if mask.lengths is not None:
        every = every & (position < mask.lengths.view(-1, 1))
    if mask.documents is not None:
        # Packed rows are filled up with document −1.
        every = every & (mask.documents.gather(1, position.clamp(0, mask.keys - 1).expand(b, n)) >= 0)
    return every
