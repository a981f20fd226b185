"""FlexAttention as its documentation shows it: a mask function, a BlockMask, and torch.compile."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from manyheads.measure.attention.built import qkv
from manyheads.measure.attention.case import Shape


def flex(
    shape: Shape, seen: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], block: int, heads: int | None = None
) -> tuple[Callable[[Any], Tensor], Callable[[], Any], list[Tensor]]:
    """The call, what it derives once per batch, and its inputs. heads: of a mask whose heads differ."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = qkv(shape)
    compiled = torch.compile(flex_attention, dynamic=False)

    def prepare() -> Any:
        return create_block_mask(
            seen, None, heads, shape.length, shape.length, device=shape.device.type, BLOCK_SIZE=block
        )

    return lambda mask: compiled(q, k, v, block_mask=mask), prepare, [q, k, v]
