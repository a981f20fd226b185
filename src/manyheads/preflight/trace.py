"""What each layer gave, to name the first one that goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor, nn

from manyheads.model.layers import Block, MultiHead
from manyheads.model.stack import Stack
from manyheads.preflight.samples import Sample, Shape, states

Trace = dict[str, Tensor]
"""Outputs (b, n, dim) by the layer's name, in the order in which they came."""


def trace(model: Shape, sample: Sample) -> Trace:
    found: Trace = {}
    with _watched(model, found), torch.no_grad():
        states(model, sample)
    return found


@contextmanager
def _watched(model: nn.Module, found: Trace) -> Iterator[None]:
    def watch(name: str):
        return lambda module, given, out: found.__setitem__(name, out.float())

    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, MultiHead | Block | Stack)]
    handles = [module.register_forward_hook(watch(name)) for name, module in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_change(
    before: Trace, after: Trace, spans: dict[str, Int[Tensor, "b"]], slack: float
) -> tuple[str, float] | None:
    """The first layer whose output changed at positions before `spans` (by stack), and by how much of its size."""
    for name, old in before.items():
        span, new = spans[name.split(".")[0]], after[name]
        length = min(old.size(1), new.size(1))
        held = torch.arange(length, device=old.device) < span.unsqueeze(1)
        change = share(old[:, :length][held], new[:, :length][held])
        # Written so that NaN counts as a change.
        if not change <= slack:
            return name, change
    return None


def share(old: Tensor, new: Tensor) -> float:
    """The largest difference as a share of the usual size of `old`."""
    if not old.numel():
        return 0.0
    return float((new - old).abs().max() / old.square().mean().sqrt().clamp(min=torch.finfo(old.dtype).tiny))
