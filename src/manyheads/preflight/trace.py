"""What each layer gave, to name the first one that goes wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from manyheads.model.layers import Block, MultiHead
from manyheads.model.stack import Stack

Trace = dict[str, Tensor]
"""Outputs (rows, n, …) by the layer's name, in the order in which they came, and what the model returned."""

Held = dict[str, Bool[Tensor, "rows n"]]
"""By stack, or for the result: which of its positions mean something, or must stay. Others are not compared."""


def trace(model: nn.Module, run: Callable[[], Tensor], result: str) -> Trace:
    """result: what to call that which `run` returns."""
    found: Trace = {}
    with _watched(model, found), torch.no_grad():
        out = run().float()
    return found | {result: out}


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


def first_change(before: tuple[Trace, Held], after: tuple[Trace, Held], slack: float) -> tuple[str, float] | None:
    """The first layer whose output changed where it is held, and by how much of its size.

    Both hold as many positions, in the same order.
    """
    for name in before[0]:
        old, new = (_pick(name, *side) for side in (before, after))
        if old is None:
            continue
        change = share(old, new)
        # Written so that NaN counts as a change.
        if not change <= slack:
            return name, change
    return None


def _pick(name: str, found: Trace, held: Held) -> Tensor | None:
    """The outputs of a layer that are held."""
    places = next((places for part, places in held.items() if f"{name}.".startswith(f"{part}.")), None)
    if places is None:
        return None
    n = min(places.size(1), found[name].size(1))
    return found[name][:, :n][places[:, :n]]


def share(old: Tensor, new: Tensor) -> float:
    """The largest difference as a share of the usual size of `old`."""
    if not old.numel():
        return 0.0
    return float((new - old).abs().max() / old.square().mean().sqrt().clamp(min=torch.finfo(old.dtype).tiny))
