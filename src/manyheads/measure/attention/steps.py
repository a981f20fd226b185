"""What is measured of a contestant: one pass over what its batch derived, leaving nothing behind."""

from collections.abc import Callable
from typing import Any

import torch

from manyheads.measure.attention.built import Built


def step_of(built: Built, gradients: bool) -> Callable[[Any], None]:
    """state → None: forward alone, or forward and backward from a gradient that was there before."""
    return _both(built) if gradients else _forward(built)


def _forward(built: Built) -> Callable[[Any], None]:
    def step(state: Any) -> None:
        with torch.no_grad():
            built.call(state)

    return step


def _both(built: Built) -> Callable[[Any], None]:
    grads: list[torch.Tensor] = []

    def step(state: Any) -> None:
        out = built.call(state)
        if not grads:
            grads.append(torch.randn_like(out))
        out.backward(grads[0])
        for leaf in built.leaves:
            leaf.grad = None

    return step
