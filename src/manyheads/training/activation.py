"""Activation checkpointing: a block keeps its input alone, and computes its inside again when gradients want it.

Chen et al. 2016, by torch's own checkpoint: the dice of dropout fall the second time as they fell the first.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputed:
    """A block's `forward` that is run again in the backward pass; in evaluation it is the plain one."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        self.block, self.forward = block, forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.block.training and torch.is_grad_enabled():
            return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)
        return self.forward(*args, **kwargs)


def recompute(blocks: Iterable[nn.Module]) -> None:
    """In place: names of weights stay, and so do hooks, which see a block from outside."""
    for block in blocks:
        block.forward = Recomputed(block, block.forward)
