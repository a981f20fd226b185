"""One step of training, and one of evaluation, imagined in the order in which Lightning takes them.

Forward, then the gradients of the step before are dropped, then backward, then the optimizer: so at the end of a
forward pass weights, optimizer state, old gradients and all activations live side by side.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from manyheads.attention.base import Attention
from manyheads.data.batch import Batch
from manyheads.estimate.imagined import Imagined
from manyheads.estimate.ledger import Ledger, Work
from manyheads.model.head import Head
from manyheads.task.base import groups

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
TRUE = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64, "64": torch.float64}


@dataclass(frozen=True)
class Peak:
    """tensors: bytes of the moment when most live, by `kinds`. held: what the process holds for them."""

    tensors: int
    held: int
    kinds: dict[str, int]
    work: Work


class Imagination:
    """A task that is not there, and what its steps take.

    make: gives the task; it is called in imagination, so nothing is allocated. device: where it will run. precision: as
    Lightning names it.
    """

    def __init__(self, make: Callable[[], LightningModule], device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self.ledger = Ledger(device.type)
        self.mode = Imagined(self.ledger)
        with self._inside(), self.ledger.kind("parameters"):
            self.task = _moved(make(), device, TRUE.get(precision))
            self.optimizer = self.task._optimizer(groups(self.task.model))
        for module in self.task.modules():
            self._watch(module)
        self._start()

    def training(self, batch: Batch) -> Peak:
        """A step in the midst of a training: the optimizer has its state, and the step before left its gradients."""
        self.task.train()
        with self._inside():
            self.ledger.restart()
            batch = self._given(batch)
            with self._autocast():
                loss = self.task.step(batch).loss
            self.optimizer.zero_grad()
            with self.ledger.kind("backward"):
                loss.backward()
            del loss
            with self.ledger.kind("update"):
                self.optimizer.step()
            return self._peak()

    def evaluation(self, batch: Batch) -> Peak:
        """A step without gradients; those of the last training step are still there."""
        self.task.eval()
        with self._inside(), torch.no_grad():
            self.ledger.restart()
            batch = self._given(batch)
            with self._autocast():
                self.task.step(batch)
            return self._peak()

    def _given(self, batch: Batch) -> Batch:
        with self.ledger.kind("batch"):
            return batch._each(lambda x: self.mode.imagine(x) if x.is_floating_point() else x.clone())

    def _peak(self) -> Peak:
        ledger = self.ledger
        return Peak(ledger.peak, ledger.held, {kind: n for kind, n in ledger.at_peak.items() if n}, ledger.work)

    def _start(self) -> None:
        """Gradients and the state of the optimizer, as a first step leaves them."""
        with self._inside():
            for weight in self.task.model.parameters():
                if weight.requires_grad:
                    weight.register_post_accumulate_grad_hook(lambda w: self.ledger.call_it(w.grad, "gradients"))
                    with self.ledger.kind("gradients"):
                        weight.grad = torch.empty_like(weight)
            if self.device.type == "cuda":
                for group in self.optimizer.param_groups:
                    group["foreach"] = group.get("foreach") is not False and not group.get("fused")
            with self.ledger.kind("optimizer"):
                self.optimizer.step()

    def _watch(self, module: nn.Module) -> None:
        """What attention and the head over words make is told apart."""
        if isinstance(module, Attention):
            module.attend = self._called(module.attend, "attention")
        if isinstance(module, Head):
            module.loss = self._called(module.loss, "logits")

    def _called(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.ledger.kind(kind):
                return call(*args, **kwargs)

        return watched

    @contextmanager
    def _inside(self) -> Iterator[None]:
        # What is drawn in here must not change what the run draws.
        with torch.random.fork_rng(devices=[]), self.mode:
            yield

    def _autocast(self) -> Any:
        low = AUTOCAST.get(self.precision)
        return nullcontext() if low is None else torch.autocast(self.device.type, low, cache_enabled=False)


def _moved(task: LightningModule, device: torch.device, dtype: torch.dtype | None) -> LightningModule:
    """`task.to(device, dtype)`, which cannot exchange what is imagined; tensors that modules share stay shared."""
    moved: dict[int, torch.Tensor] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in moved:
            new = tensor.detach().to(device, dtype if tensor.is_floating_point() else None)
            moved[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return moved[id(tensor)]

    for module in task.modules():
        for kept in (module._parameters, module._buffers):
            kept.update({name: move(tensor) for name, tensor in kept.items() if tensor is not None})
    return task
