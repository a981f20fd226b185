"""Distillation: the model that pruning started from goes on teaching the one that is pruned.

Its teacher is `ckpt_path` as it lies on disk: frozen, without dropout, no part of the task, of its checkpoints, of DDP
or of the optimizer. A resumed run reads it again, and knows it by a digest of its weights.

Whoever prunes calls, in this order:
    load_state_dict(state)   where a run goes on; before `start`, or not at all
    start(trainer, task)     before gates are put on the model; from here on training steps are lessons
    before_step(trainer)     in on_before_optimizer_step, after the gradients of all batches of a step have been made
    state_dict()             at any time, plain values for a checkpoint
    stop(task)               when the training ends
"""

import copy
import hashlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from manyheads.errors import UserError
from manyheads.pruning.gates import take_off
from manyheads.pruning.hidden import distance, watched
from manyheads.pruning.maps import Maps
from manyheads.task.base import Result, Task
from manyheads.training import checkpoints


class Distillation:
    """What is trained is (1 − weight) · the task's loss + weight · how far the student's answers are from the teacher's
    (`task.answers`) + hidden · how far its states are from them (`pruning.hidden`).

    temperature: of words and labels. hidden: 0 for none. layers: how many blocks of each stack are compared, evenly
    spaced. lr: of the maps between the states, by Adam.
    train/loss is what is trained; train/loss_epoch and val/loss are the task's own, train/distill_* those of a step of
    this process. States are averaged over a batch's places, and batches weighed as the task's loss weighs them.
    """

    def __init__(self, weight: float, temperature: float, hidden: float, layers: int, lr: float) -> None:
        if not 0 <= weight <= 1:
            raise UserError(f"pruning.distill.weight={weight} is no share of the loss: set 0 to 1.")
        if temperature <= 0 or hidden < 0:
            raise UserError("pruning.distill.temperature must be above 0, and pruning.distill.hidden 0 or more.")
        if layers < 1:
            raise UserError(
                f"pruning.distill.layers={layers} must be 1 or more: pruning.distill.hidden=0 compares none."
            )
        self.weight, self.temperature, self.hidden, self.layers = weight, temperature, hidden, layers
        self.lr, self.teacher, self.maps = lr, None, None
        self._state: dict[str, Any] = {}

    def start(self, trainer: Trainer, task: Task) -> None:
        path = start_of(task)
        weights = checkpoints.load(path)["state_dict"]
        weights = {name.removeprefix("model."): x for name, x in weights.items() if name.startswith("model.")}
        self._digest = digest(weights)
        if self._state.get("teacher", self._digest) != self._digest:
            raise UserError(f"{path} has other weights than when this run learned from it: put those back.")
        self.teacher = teacher_of(task.model, weights)
        if self.hidden:
            self.maps = Maps(task.model, self.lr)
            if "maps" in self._state:
                self.maps.load_state_dict(self._state["maps"])
        task.lesson = self.lesson

    def lesson(self, task: Task, batch: Any) -> Result:
        """The step of a batch, and how far its answers are from the teacher's; the student reads it once."""
        layers = self.layers if self.hidden else 0
        with watched(task.model, layers) as own:
            result = task.step(batch)
        with torch.no_grad(), watched(self.teacher, layers, own) as theirs:
            answer = task.answer(self.teacher, batch)
        logits = result.answer.distance(answer, self.temperature)
        curves, objective = {"distill_logits": logits}, (1 - self.weight) * result.loss + self.weight * logits
        if self.hidden:
            curves["distill_hidden"] = distance(own, theirs, self.maps.by_stack)
            objective = objective + self.hidden * curves["distill_hidden"]
        return result.trained_by(objective, curves)

    def before_step(self, trainer: Trainer) -> None:
        """The maps' own step; none where the weights take none, or where a gradient is no number."""
        weights = [weight for group in trainer.optimizers[0].param_groups for weight in group["params"]]
        if self.maps is not None:
            scaler, share = getattr(trainer.precision_plugin, "scaler", None), trainer.lightning_module.step_mean.share
            factor = (1.0 if share is None else share) / (1.0 if scaler is None else scaler.get_scale())
            self.maps.step(factor, taken=any(weight.grad is not None for weight in weights))

    def stop(self, task: Task) -> None:
        self._state = self.state_dict()  # what is saved when a training has ended knows it, too
        task.lesson = self.teacher = None

    def state_dict(self) -> dict[str, Any]:
        if self.teacher is None:
            return self._state
        maps = {} if self.maps is None else {"maps": self.maps.state_dict()}
        return {"teacher": self._digest, **maps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = state


def start_of(task: Task) -> Path:
    """The checkpoint that the run began with."""
    path = task.config.get("ckpt_path")
    if path is None:
        raise UserError("pruning/distill= needs a trained model to learn from: name it with ckpt_path=FILE.")
    if not Path(path).exists():
        raise UserError(f"{path} is gone, from which this run began and learns (pruning.distill): put it back.")
    return Path(path)


def teacher_of(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """A model of the same shape with these weights, which neither learns nor throws dice."""
    teacher = copy.deepcopy(model)
    teacher.load_state_dict(weights)
    take_off(teacher)
    return teacher.eval().requires_grad_(False)


def digest(weights: dict[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(weights.items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
