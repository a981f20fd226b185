"""The arithmetic of a real training step: attention by its rule, everything else as torch counts it.

torch's FlopCounterMode sees every matrix product, but not inside kernels of our own, and in attention it counts what a
kernel does, hidden pairs and all. So whatever happens inside `attend`, forward and backward, is taken out of its count,
and what `attention.work` says is put in its place. A rule that nobody has counted stays as torch sees it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from manyheads.attention.base import Attention
from manyheads.attention.work import flops


class Counter:
    """Counts while `counting` is on; `total` then holds all of it."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.mode = module, FlopCounterMode(display=False)
        self._ruled, self._left_out, self._since, self.left = 0.0, 0, 0, False

    @contextmanager
    def counting(self) -> Iterator["Counter"]:
        """One step, forward and backward; compiled modules run as they are written meanwhile."""
        watched = outermost(self.module)
        for attention in watched:
            attention.attend = self._instead(attention, attention.attend)
        try:
            with torch.compiler.set_stance("force_eager"), self.mode:
                yield self
        finally:
            for attention in watched:
                del attention.attend

    @property
    def total(self) -> float:
        return self.mode.get_total_flops() - self._left_out + self._ruled

    def _instead(self, attention: Attention, attend: Any) -> Any:
        def counted(q: Tensor, k: Tensor, v: Tensor, mask: Any, bias: Any = None) -> Tensor:
            trained = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
            # A checkpointed block runs again in the backward; its rule is counted once.
            again = torch._C._current_graph_task_id() != -1
            q, k, v = _Enter.apply(self, q, k, v) if trained else (q, k, v)
            self.begin()
            out = attend(q, k, v, mask, bias)
            found = flops(attention, q, k, mask, trained)
            if found is None:
                return out
            self.end()
            self._ruled += 0.0 if again else found
            return _Leave.apply(self, out) if trained else out

        return counted

    def begin(self) -> None:
        self._since = self.mode.get_total_flops()

    def end(self) -> None:
        self._left_out += self.mode.get_total_flops() - self._since
        self._since = self.mode.get_total_flops()


class _Enter(torch.autograd.Function):
    """In front of an attention; its backward comes behind the attention's."""

    @staticmethod
    def forward(ctx, counter: Counter, q: Tensor, k: Tensor, v: Tensor):
        ctx.counter = counter
        return q.view_as(q), k.view_as(k), v.view_as(v)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        if ctx.counter.left:
            ctx.counter.left = False
            ctx.counter.end()
        return None, *grads


class _Leave(torch.autograd.Function):
    """Behind an attention; its backward comes in front of the attention's."""

    @staticmethod
    def forward(ctx, counter: Counter, out: Tensor):
        ctx.counter = counter
        return out.view_as(out)

    @staticmethod
    def backward(ctx, grad: Tensor):
        ctx.counter.left = True
        ctx.counter.begin()
        return None, grad


def outermost(module: nn.Module) -> list[Attention]:
    """Attentions that are not part of another one, which chose among them."""
    found, inside = [], set()
    for part in module.modules():
        if isinstance(part, Attention) and part not in inside:
            inside.update(part.modules())
            found.append(part)
    return found
