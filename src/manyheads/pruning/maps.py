"""The linear maps from a student's states to its teacher's: trained beside the model, and no part of it."""

from typing import Any

import torch
from torch import Tensor, nn

from manyheads.model.precision import wide
from manyheads.model.stack import Stack
from manyheads.pruning.hidden import width
from manyheads.training.collectives import add_up, processes


class Maps:
    """One d × d map for each stack of `model`, first the identity, with an Adam of their own."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        like = wide(next(model.parameters()).detach())
        names = [name for name, module in model.named_modules() if isinstance(module, Stack)]
        self.by_stack = {name: torch.eye(width(model)).to(like).requires_grad_() for name in names}
        self.adam = torch.optim.Adam(self.by_stack.values(), lr=lr)

    def step(self, factor: float | Tensor, taken: bool) -> None:
        """Averages the gradients over all processes and takes a step with `factor` times that.

        taken: whether the model's own step is taken; gradients that are no numbers are left out too.
        """
        grads = torch.stack([torch.zeros_like(x) if x.grad is None else x.grad for x in self.by_stack.values()])
        add_up(grads)
        grads = grads * factor / processes()
        if taken and torch.isfinite(grads).all():
            for x, grad in zip(self.by_stack.values(), grads, strict=True):
                x.grad = grad
            self.adam.step()
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"maps": {name: x.detach().cpu() for name, x in self.by_stack.items()}, "adam": self.adam.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, x in self.by_stack.items():
            x.copy_(state["maps"][name])
        self.adam.load_state_dict(state["adam"])
