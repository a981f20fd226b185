"""torch's own FlexAttention, compiled: it skips blocks that the mask hides.

On GPUs alone: on CPUs it has no backward and, once a compilation has failed, computes densely without a word (2.13).
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.mask import Mask

DROPS = False
"""Whether it can drop weights."""


def why_not(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> str | None:
    if q.device.type != "cuda":
        return f"attention.kernel=flex needs a CUDA device, not {q.device.type}: take attention.kernel=any."
    if shift is not None:
        return "attention.kernel=flex computes softmax alone: take attention.kernel=any."
    if isinstance(bias, Tensor) and bias.requires_grad:
        return "attention.kernel=flex gives no gradient to a trained bias: take attention.kernel=sdpa."
    return None


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    bias: Bias | None,
    dropout: float,
    shift: Tensor | None,
) -> Float[Tensor, "b h n d"]:
    """softmax(q kᵀ / √d + bias) v over the allowed keys."""
    if dropout:
        raise ValueError("flex_attention drops no weights")
    return compute(_compiled(), q, k, v, mask, bias)


def compute(flex: Any, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None) -> Tensor:
    """The same by any form of flex_attention: compiled, or plain where only its arithmetic is asked for."""
    blocks = None if mask.full else _blocks(mask, q)
    return flex(q, k, v, score_mod=_score(bias, mask), block_mask=blocks, enable_gqa=q.size(1) != k.size(1))


def _blocks(mask: Mask, q: Tensor) -> BlockMask:
    rows = mask.rows if mask.rows > 1 else None
    heads = q.size(1) if mask.per_head else None

    # A plain function: create_block_mask refuses bound methods.
    def allowed(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return mask.allowed(b, h, i, j)

    return mask.once(
        ("flex", heads, q.device),
        lambda: create_block_mask(allowed, rows, heads, mask.queries, mask.keys, device=q.device),
    )


def _score(bias: Bias | None, mask: Mask) -> Any:
    if bias is None:
        return None
    if isinstance(bias, DistanceBias):
        return lambda score, b, h, i, j: score - bias.slopes[h] * (i + _offset(mask, b) - j).abs()
    return lambda score, b, h, i, j: score + bias[_at(b, bias, 0), _at(h, bias, 1), _at(i, bias, 2), _at(j, bias, 3)]


def _offset(mask: Mask, b: Tensor) -> int | Tensor:
    return mask.offset[b] if isinstance(mask.offset, Tensor) else mask.offset


def _at(place: Tensor, bias: Tensor, axis: int) -> Tensor:
    return place if bias.size(axis) > 1 else place * 0


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)
