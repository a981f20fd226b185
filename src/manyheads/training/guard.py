"""Watches the loss: what is no number, or far above what it was, does not reach the weights."""

import logging
import math
from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from manyheads.errors import UserError
from manyheads.training.checkpoints import folder_of

log = logging.getLogger(__name__)


class Guard(Callback):
    """Looks at loss and gradients of each optimizer step before it is taken.

    A fault is a loss or a gradient that is NaN or infinite, or a loss above `spike` times the median of the last
    `window` steps that were taken. on_fault: `stop` ends the run, `skip` drops the gradients, so that weights and
    optimizer stay as they were, and counts; more than `patience` in a row end the run too. spike: None for no such
    limit.

    The loss is the mean over all that the step holds (`Task.step_mean`), on all ranks, whose gradients were averaged
    already, so that all decide alike. A gradient scaler (16-mixed) leaves steps with infinite gradients out by itself
    while it looks for its scale: those are no faults. No checkpoint is written of weights that are no numbers.
    """

    def __init__(self, on_fault: str, spike: float | None, window: int, patience: int) -> None:
        if on_fault not in ("stop", "skip"):
            raise UserError(f"callbacks.guard.on_fault={on_fault} is unknown; choose stop or skip.")
        if spike is not None and spike <= 1:
            raise UserError(f"callbacks.guard.spike={spike} would take ordinary losses for faults: set it above 1.")
        if window < 1 or patience < 1:
            raise UserError("callbacks.guard.window and callbacks.guard.patience are counts of steps, from 1 on.")
        self.on_fault, self.spike, self.patience = on_fault, spike, patience
        self.skipped, self._in_a_row = 0, 0
        self._recent: deque[float] = deque(maxlen=window)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        loss, steep = _measured(trainer, pl_module.step_mean.mean.float(), optimizer)
        fault = self._fault(loss, steep)
        if fault is None:
            self._recent.append(loss)
            self._in_a_row = 0
            return
        if self.on_fault == "stop":
            raise UserError(f"{_place(trainer)} {fault}. {_advice(trainer)} callbacks.guard.on_fault=skip.")
        if self._in_a_row == self.patience:
            before = f"{self.patience} steps before it were left out"
            raise UserError(f"{_place(trainer)} {fault}, and {before}. {_advice(trainer)} callbacks.guard.patience=…")
        self.skipped, self._in_a_row = self.skipped + 1, self._in_a_row + 1
        log.warning("%s %s: the step is left out.", _place(trainer), fault)
        for weight in _weights(optimizer):
            weight.grad = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not numbers(pl_module.parameters()):
            raise UserError(
                f"{_place(trainer)} weights are NaN or infinite, so they are not saved: what was saved before stays. "
                "Try a lower optimizer.lr."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self._in_a_row, "recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self._recent.extend(state_dict["recent"])

    def _fault(self, loss: float, steep: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(steep):
            return f"the loss is {loss:.4g} and its gradient {steep}"
        if self.spike is None or len(self._recent) < self._recent.maxlen:
            return None
        level = median(self._recent)
        if level > 0 and loss > self.spike * level:
            return f"the loss is {loss:.4g}, more than {self.spike:g} times the usual {level:.4g}"
        return None


def _measured(trainer: Trainer, loss: Tensor, optimizer: Optimizer) -> tuple[float, float]:
    """The loss of the step, and the length of its gradient."""
    steep = torch.zeros_like(loss) if _scaler(trainer) is not None else _length(optimizer).to(loss)
    loss, steep = torch.stack([loss, steep]).tolist()  # one wait for the device
    return loss, steep


def _place(trainer: Trainer) -> str:
    return f"At step {trainer.global_step + 1}"


def _advice(trainer: Trainer) -> str:
    saved = any(folder_of(trainer).glob("*.ckpt"))
    onwards = f"go on from what was saved: resume={trainer.default_root_dir}" if saved else "leave such steps out:"
    return f"Try a lower optimizer.lr or a smaller trainer.gradient_clip_val in a new run, or {onwards}"


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _weights(optimizer: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _length(optimizer: Optimizer) -> Tensor:
    gradients = [weight.grad for weight in _weights(optimizer) if weight.grad is not None]
    return _full(nn.utils.get_total_norm(gradients))


def numbers(weights: Iterable[Tensor]) -> bool:
    """Whether all of them are numbers: none NaN, none infinite."""
    return bool(torch.stack([_full(weight.detach().isfinite().all()) for weight in weights]).all())


def _full(found: Tensor) -> Tensor:
    """Of a sharded model each rank holds a part."""
    return found.full_tensor() if hasattr(found, "full_tensor") else found
