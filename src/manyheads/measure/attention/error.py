"""How far a contestant is from its definition in float64, started from the same rounded inputs."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from manyheads.measure.attention import contestants
from manyheads.measure.attention.built import Built
from manyheads.measure.attention.case import Shape


def error(name: str, shape: Shape) -> dict[str, Any]:
    """Relative errors (Frobenius norms): of the output, and the largest of the three gradients.

    against: `definition`, or `itself`: the contestant's own code in float64, which shows rounding and no mistakes.
    """
    built = contestants.build(name, shape)
    out = built.ours(built.call(built.prepare()))
    dice = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=dice).to(out.device, out.dtype)
    if out.requires_grad:
        out.backward(grad)
    found = [out.detach()] + [built.ours(leaf.grad) for leaf in built.leaves if leaf.grad is not None]
    wanted = _defined(built, grad) if built.definition else _itself(name, shape, built, grad)
    distances = [_relative(mine, right) for mine, right in zip(found, wanted, strict=False)]
    return {
        "against": "definition" if built.definition else "itself",
        "error_forward": distances[0],
        "error_gradients": max(distances[1:], default=None),
    }


def _defined(built: Built, grad: Tensor) -> list[Tensor]:
    leaves = [built.ours(leaf.detach()).double().requires_grad_(leaf.requires_grad) for leaf in built.leaves]
    return _with_gradients(built.definition(*leaves), leaves, grad)


def _itself(name: str, shape: Shape, built: Built, grad: Tensor) -> list[Tensor]:
    torch.manual_seed(SEED)
    exact = contestants.build(name, replace(shape, dtype=torch.float64))
    with torch.no_grad():
        for leaf, rounded in zip(exact.leaves, built.leaves, strict=True):
            leaf.copy_(rounded)
    out = exact.ours(exact.call(exact.prepare()))
    gradients = _with_gradients(out, exact.leaves, grad)
    return [gradients[0], *(exact.ours(t) for t in gradients[1:])]


def _with_gradients(out: Tensor, leaves: list[Tensor], grad: Tensor) -> list[Tensor]:
    if not out.requires_grad:
        return [out]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.double())]


def _relative(mine: Tensor, right: Tensor) -> float:
    return ((mine.double() - right).norm() / right.norm()).item()


SEED = 0
"""Of what a contestant draws when it is made (random features): the same twice."""
