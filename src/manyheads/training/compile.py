"""torch.compile of every block of a model, in place, so that the names of weights stay.

Blocks and not the whole: they are all alike, so that the first one's code serves the others, and what cannot be
compiled (lengths that data decides, sums over a vocabulary in slices) lies between them. In training alone: a model
that writes calls its blocks with caches that grow by a word, which would be compiled anew again and again.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from manyheads.training.activation import Recomputed


class Compiled:
    """A block's `forward` that is compiled where the block trains."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any], **options: Any) -> None:
        self.block, self.plain, self.fast = block, forward, torch.compile(forward, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.fast if self.block.training else self.plain)(*args, **kwargs)


def compile_blocks(blocks: Iterable[nn.Module], **options: Any) -> None:
    """options: of torch.compile. What is computed again for its gradient is compiled inside."""
    for block in blocks:
        holder = block.forward if isinstance(block.forward, Recomputed) else block
        holder.forward = Compiled(block, holder.forward, **options)
