"""What every task shares: one step that gives a loss, an optimizer with its schedule, and means over an epoch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from manyheads.data.base import DataSpec
from manyheads.model.stack import blocks
from manyheads.task.step_mean import StepMean
from manyheads.training.collectives import add_up, gathered
from manyheads.training.strategy import FSDP2


@dataclass(frozen=True)
class Result:
    """A batch's loss per `count` (words, documents, windows), and what else is averaged over them.

    over: of how many the loss is a mean, where that is not `count`. answer: what was judged.
    objective: what is trained, where that is not the loss alone. curves: what else is logged of a training step.
    """

    loss: Tensor
    count: int
    means: dict[str, Tensor]
    over: Tensor | int | None = None
    answer: Any = None
    objective: Tensor | None = None
    curves: dict[str, Tensor] = field(default_factory=dict)

    def trained_by(self, objective: Tensor, curves: dict[str, Tensor]) -> "Result":
        return replace(self, objective=objective, curves={name: x.detach() for name, x in curves.items()})


class Mean(MeanMetric):
    """Looks for no NaN, which would wait for the device each time; MeanMetric (1.9) then takes every weight for 1."""

    def update(self, value: Tensor, weight: int) -> None:
        self.mean_value += value * weight
        self.weight += weight


class Task(LightningModule, ABC):
    """A thin LightningModule: the subclass says what a batch costs, this what happens with it.

    optimizer: factory, given parameter groups; schedule: factory, given the optimizer and `total` steps.
    metrics: names that a validation measures.
    monitor, mode: the metric by which the best weights are chosen, and whether `min` or `max` is best.
    """

    metrics: tuple[str, ...]

    def __init__(
        self,
        model: nn.Module,
        spec: DataSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
    ) -> None:
        super().__init__()
        self.model, self.spec, self.monitor, self.mode = model, spec, monitor, mode
        self._optimizer, self._schedule = optimizer, schedule
        self._means: dict[str, dict[str, Mean]] = {}
        self.step_mean = StepMean()
        self.config: dict[str, Any] = {}
        self.lesson: Callable[[Task, Any], Result] | None = None
        """What a training step is in place of `step`, while the model learns from more than its data."""
        self.trained: dict[str, float] = {}
        """What `report` said last of the training; a run that goes on behind its end knows it by this alone."""

    @abstractmethod
    def step(self, batch: Any) -> Result:
        """Loss and means of one batch."""

    def answer(self, model: nn.Module, batch: Any) -> Any:
        """What a model says of a batch: of a kind that has a `distance` to another model's answer."""
        raise NotImplementedError

    def begin(self, data: Any) -> bool:
        """Gives the model the weights that `data` alone says are good, if this task knows any: whether it does.

        Training starts from them, and what it finds has to better them on validation.
        """
        return False

    def configure_model(self) -> None:
        """Under fsdp the weights are shared out before an optimizer sees them."""
        if isinstance(self.trainer.strategy, FSDP2):
            self.trainer.strategy.shard(self, blocks(self.model))

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self._optimizer(groups(self.model))
        schedule = self._schedule(optimizer, total=total_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Any, index: int) -> Tensor:
        result = self.step(batch) if self.lesson is None else self.lesson(self, batch)
        self.count("train", result)
        over = result.count if result.over is None else result.over
        objective = result.loss if result.objective is None else result.objective
        loss = self.step_mean.add(objective, over, self.trainer.accumulate_grad_batches)
        self.log("train/loss", self.step_mean.mean, prog_bar=True, batch_size=result.count)
        self.log_dict({f"train/{name}": value for name, value in result.curves.items()}, batch_size=result.count)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.step_mean.close(optimizer)

    def on_train_epoch_end(self) -> None:
        self.report("train", {"loss": "train/loss_epoch"})

    def count(self, split: str, result: Result) -> None:
        """Adds a batch to the means of `split`."""
        for name, value in {"loss": result.loss, **result.means}.items():
            self._mean(split, name).update(value.detach(), result.count)

    def report(self, split: str, names: dict[str, str] | None = None) -> dict[str, float]:
        """Logs the means of `split` and starts them anew; `names` renames some."""
        logged = {}
        # A rank without a batch sums up what the others sum up, too.
        for name in gathered(dict.fromkeys(self._means.get(split, {}))):
            logged[(names or {}).get(name, f"{split}/{name}")] = self._mean(split, name).to(self.device).compute()
        self._means.pop(split, None)
        if split == "train":
            self.trained = {name: float(value) for name, value in logged.items()}
        self.log_dict(logged, rank_zero_only=True)
        return logged

    def _mean(self, split: str, name: str) -> Mean:
        means = self._means.setdefault(split, {})
        if name not in means:
            means[name] = Mean().to(self.device)
        return means[name]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        train = {name: self._summed(name) for name in gathered(dict.fromkeys(self._means.get("train", {})))}
        checkpoint["manyheads"] = {"config": self.config, "train_means": train, "trained": self.trained}

    def _summed(self, name: str) -> dict[str, Tensor]:
        """The sums of a mean of the training so far, over all ranks."""
        sums = {key: value.clone() for key, value in self._mean("train", name).metric_state.items()}
        for value in sums.values():
            add_up(value)
        return sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.trained = checkpoint["manyheads"].get("trained", {})  # older versions saved none
        if self.global_rank != 0:
            return  # the sums of all ranks are in it, and count once
        for name, state in checkpoint["manyheads"]["train_means"].items():
            mean = self._mean("train", name)
            mean.mean_value, mean.weight = (state[key].clone().to(self.device) for key in ("mean_value", "weight"))
            mean._update_count = 1


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole training, or None where nothing but time bounds it.

    `trainer.estimated_stepping_batches` would say the same, but makes the loader before a resumed run's place in the
    data is restored, which Lightning then never does.
    """
    bounds = [] if trainer.max_steps == -1 else [trainer.max_steps]
    if trainer.max_epochs not in (None, -1):
        batches, limit = len(trainer.datamodule.train_dataloader()), trainer.limit_train_batches
        taken = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        bounds.append(trainer.max_epochs * math.ceil(taken / trainer.accumulate_grad_batches))
    return min(bounds, default=None)


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameters in two groups: matrices, which decay, and norms and biases, which do not."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in wanted if p.ndim > 1]},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
