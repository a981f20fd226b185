"""A contestant made ready: its inputs, what it derives once per batch, and the call that is measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.work import Work

Definition = Callable[[Tensor, Tensor, Tensor], Tensor]


class Cannot(Exception):
    """Why a contestant cannot run a case, in one sentence: a row of the table, no failure."""


@dataclass
class Built:
    """leaves: q, k, v in the contestant's own layout; they get the gradients.

    call(state): the output, in the contestant's layout, from what `prepare` derived (a mask, say, for all layers).
    ours: from that layout to (b, h, n, d).
    definition: from q, k, v (b, h, n, d) in float64 what should come out; None: only the contestant itself can say.
    """

    leaves: list[Tensor]
    call: Callable[[Any], Tensor]
    work: Work | None
    prepare: Callable[[], Any] = lambda: None
    definition: Definition | None = None
    ours: Callable[[Tensor], Tensor] = field(default=lambda t: t)


def qkv(shape: Shape, kv_heads: int | None = None) -> list[Tensor]:
    """q (b, h, n, d), k and v (b, g, n, d): the same normal numbers in every process, rounded to the type."""
    dice = torch.Generator().manual_seed(SEED)
    made = []
    for heads in (shape.heads, kv_heads or shape.heads, kv_heads or shape.heads):
        drawn = torch.randn(shape.batch, heads, shape.length, shape.head_dim, generator=dice)
        made.append(drawn.to(shape.device, shape.dtype).requires_grad_(shape.gradients))
    return made


SEED = 0
