"""The loss of an optimizer step: one mean over all that its batches hold, however they were shared out.

Lightning takes the mean over batches, and the strategies that over ranks. Batches hold unequal numbers of words, so a
mean of means would make the words of a short batch louder, and the same data on two devices another training.
"""

import torch
from torch import Tensor
from torch.optim import Optimizer

from manyheads.training.collectives import add_up, processes


class StepMean:
    """Call `add` for each batch, and `close` when the optimizer has the gradients of all of them.

    mean: of the step so far, over all ranks.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._sums: Tensor | None = None
        self._batches = 1
        self.mean: Tensor | None = None

    def add(self, loss: Tensor, over: Tensor | int, batches: int) -> Tensor:
        """What to differentiate.

        loss: a mean over `over`. batches: of one step, on each rank. What is differentiated is weighed against the
        step's first batch: how much the others will hold is not known before they come.
        """
        ranks = processes()
        if ranks * batches == 1:
            self.mean = loss.detach()
            return loss
        own = torch.as_tensor(over, dtype=torch.float64, device=loss.device)
        sums = torch.stack([loss.detach() * own, own])
        add_up(sums)
        sums[1].clamp_(min=1)
        first = self._first is None
        self._first, self._sums = (sums[1], sums) if first else (self._first, self._sums + sums)
        self._batches = batches
        self.mean = (self._sums[0] / self._sums[1]).to(loss.dtype)
        return loss * (ranks * own / self._first).to(loss.dtype)

    @property
    def share(self) -> Tensor | None:
        """What gradients are multiplied with when the step closes; None for nothing."""
        return self._batches * self._first / self._sums[1] if self._batches > 1 and self._sums is not None else None

    def close(self, optimizer: Optimizer) -> None:
        """Weighs the gradients against all that the step held."""
        share = self.share
        if share is not None:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        _here(weight.grad).mul_(share)
        self._first = self._sums = None


def _here(gradient: Tensor) -> Tensor:
    """This rank's part, where gradients are shared out."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient
