"""Attention strip by strip, and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from manyheads.attention.kernels.strips.plan import Plan
from manyheads.attention.kernels.strips.strip import Strip


class Attend(torch.autograd.Function):
    """Softmax attention, or with `shift` sigmoid attention, by a plan.

    Only the inputs are kept for the backward, which makes the weights of each strip again, dropout included.
    """

    @staticmethod
    def forward(ctx, q, k, v, plan: Plan, shift: Tensor | None, dropout: float, seed: int) -> Float[Tensor, "b h n d"]:
        ctx.plan, ctx.sizes, ctx.drop = plan, (q.size(2), k.size(2)), (dropout, seed)
        ctx.shift = None if shift is None else _spread(shift, q, plan.tile)
        q, k, v = (_padded(x, plan.tile) for x in (q, k, v))
        ctx.save_for_backward(q, k, v)
        out = _blank(plan, q)
        draw = _Dropout(dropout, seed, q.device)
        for strip in plan.strips:
            weights = _weights(strip, _scaled(strip, q), strip.keys(k), ctx.shift)
            kept = draw(weights)
            strip.put((weights if kept is None else weights * kept) @ strip.keys(v), out)
        return out[:, :, : ctx.sizes[0]]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Float[Tensor, "b h n d"]):
        (n, m), (q, k, v) = ctx.sizes, ctx.saved_tensors
        grad = _padded(grad, ctx.plan.tile)
        gradients = _Gradients(_blank(ctx.plan, q), q, k, v, grad)
        draw = _Dropout(*ctx.drop, q.device)
        for strip in ctx.plan.strips:
            gradients.add(strip, ctx.shift, draw)
        dk, dv = (x[:, :, :m].to(k.dtype) for x in (gradients.dk, gradients.dv))
        return gradients.dq[:, :, :n], dk, dv, None, None, None, None


class _Gradients:
    """dq in the type of q; dk and dv, which many strips add to, in at least fp32."""

    def __init__(self, dq: Tensor, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> None:
        self.dq, self.q, self.k, self.v, self.grad = dq, q, k, v, grad
        sum_type = torch.promote_types(k.dtype, torch.float32)
        self.dk, self.dv = (torch.zeros(k.shape, dtype=sum_type, device=k.device) for _ in range(2))

    def add(self, strip: Strip, shift: Tensor | None, draw: "_Dropout") -> None:
        """What one strip adds; softmax(s)' needs the whole row, and a strip has it."""
        q, k, v, grad = _scaled(strip, self.q), strip.keys(self.k), strip.keys(self.v), strip.queries(self.grad)
        weights = _weights(strip, q, k, shift)
        kept = draw(weights)
        strip.add((weights if kept is None else weights * kept).mT @ grad, self.dv)
        towards = grad @ v.mT
        if kept is not None:
            towards.mul_(kept)
        if shift is None:
            towards = torch._softmax_backward_data(towards, weights, -1, weights.dtype)
        else:
            towards = torch.ops.aten.sigmoid_backward(towards, weights)
        strip.put((towards @ k).mul_(q.size(-1) ** -0.5), self.dq)
        strip.add(towards.mT @ q, self.dk)


class _Dropout:
    """Which weights stay, scaled up for those that go; one seed gives the same again, strip after strip."""

    def __init__(self, share: float, seed: int, device: torch.device) -> None:
        self.share = share
        self.generator = torch.Generator(device).manual_seed(seed) if share else None

    def __call__(self, weights: Tensor) -> Tensor | None:
        if not self.share:
            return None
        stay = 1 - self.share
        return torch.empty_like(weights).bernoulli_(stay, generator=self.generator).div_(stay)


def _blank(plan: Plan, q: Tensor) -> Tensor:
    """Room for something like q: zeros where some query is in no strip."""
    make = torch.empty_like if plan.complete else torch.zeros_like
    return make(q, memory_format=torch.contiguous_format)


def _scaled(strip: Strip, q: Tensor) -> Tensor:
    return strip.queries(q) * q.size(-1) ** -0.5


def _weights(strip: Strip, q: Tensor, k: Tensor, shift: Tensor | None) -> Float[Tensor, "s x y"]:
    scores = strip.biased(q @ k.mT)
    grid = strip.grid(scores)
    if strip.added is not None:
        grid[..., strip.added_to].add_(strip.added)
    if shift is None:
        weights = scores.softmax(-1)
    else:
        weights = grid.add_(strip.shifted(shift)).sigmoid().view(scores.shape)
    if strip.blind is not None:
        strip.grid(weights).masked_fill_(strip.blind, 0.0)
    return weights


def _padded(x: Tensor, tile: int) -> Tensor:
    """Positions filled up with zeros to whole tiles; tiles can only be taken out of contiguous memory."""
    return x if tile == 1 else F.pad(x, (0, 0, 0, -x.size(2) % tile)).contiguous()


def _spread(shift: Tensor, q: Tensor, tile: int) -> Tensor:
    shift = shift.to(q.dtype)
    return shift if tile == 1 else F.pad(shift.expand(q.shape[:3]), (0, -q.size(2) % tile)).contiguous()
