"""What a run will take, before anything of it is allocated.

Its model is composed and trained for a step in imagination (see `imagined`): the operations of forward, loss, backward
and optimizer run one after the other on tensors without memory, and whatever would live at each moment is added up (see
`ledger`). So activations are what autograd really saves, and any attention that is added later is followed without a
formula: scores where a kernel keeps them; strips, sums or nothing where it does not. Masks and lengths are real, and
are those of the data's own largest batches. Sizes other than those asked for are fitted (see `fit`).

On a CPU a process holds more than its tensors need: freed pieces stay in its heap (`ledger.KEPT`). What is compared
with a measurement is the growth of the process, without the pages of files (libraries), over what it held before its
model was built. On a GPU it is what torch's allocator gives out. Evaluation is the scoring of a batch: what a search
over texts keeps on the way is left out.

Time is a sum over the operations: each takes as long as its arithmetic at the rate of a large matrix product, or its
bytes at that of a copy, whichever is longer, and what calling one costs; all three measured here and now.
"""

import math
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig

from manyheads import build
from manyheads.data.batch import Batch
from manyheads.estimate.batches import first_of, largest
from manyheads.estimate.fit import Fits, fits
from manyheads.estimate.machine import Machine, machine, memory
from manyheads.estimate.step import Imagination, Peak

SHARDED = ("fsdp", "ModelParallel", "deepspeed")
"""Strategies that share weights, gradients and optimizer state out among the processes."""

STATE = ("parameters", "gradients", "optimizer")


@dataclass(frozen=True)
class Estimate:
    """Of one process of `processes`, at its largest batch.

    available: bytes it may take. averaged: bytes of a mean of the weights kept beside them. saved: bytes that sharding
    takes away. steps: of the run, None where only time bounds it; evaluations: batches evaluated on the way.
    """

    device: torch.device
    processes: int
    available: int
    batch: Batch
    training: Peak
    evaluation: Peak
    averaged: int
    saved: int
    machine: Machine
    steps: int | None
    evaluations: int

    @property
    def peak(self) -> int:
        """Bytes that the process takes for it."""
        return max(self.training.held, self.evaluation.held) + self.averaged - self.saved

    @property
    def step_seconds(self) -> float:
        return self._seconds(self.training)

    @property
    def run_seconds(self) -> float | None:
        if self.steps is None:
            return None
        return self.steps * self.step_seconds + self.evaluations * self._seconds(self.evaluation)

    @property
    def lacks(self) -> bool:
        """Whether it does not fit."""
        return self.peak > self.available

    def _seconds(self, peak: Peak) -> float:
        return peak.work.seconds(self.machine.flops, self.machine.moved, self.machine.call)


class Estimator:
    """Imagines the runs of a config. data: prepared. device: where the run will be."""

    def __init__(self, cfg: DictConfig, data: LightningDataModule, device: torch.device) -> None:
        self.cfg, self.data, self.device = cfg, data, device
        self.precision = str(cfg.trainer.precision)
        self.imagination = Imagination(self._task, device, self.precision)
        self.processes = _processes(cfg)

    def estimate(self) -> Estimate:
        trains, validates = self.data.train_dataloader(), first_of(self.data.val_dataloader())
        limits = [1.0 if limit is None else limit for limit in _limits(self.cfg)]
        batches = largest(trains, limits[0])
        peaks = [self.imagination.training(batch) for batch in batches]
        at = max(range(len(peaks)), key=lambda place: peaks[place].held)
        evaluated = [self.imagination.evaluation(batch) for batch in largest(validates, limits[1])]
        steps, epochs = _steps(self.cfg, _counted(len(trains), limits[0]))
        return Estimate(
            device=self.device,
            processes=self.processes,
            available=self.available,
            batch=batches[at],
            training=peaks[at],
            evaluation=max(evaluated, key=lambda peak: peak.held),
            averaged=self._averaged,
            saved=self._saved(peaks[at]),
            machine=machine(self.device, self.precision),
            steps=steps,
            evaluations=0 if epochs is None else epochs * _counted(len(validates), limits[1]),
        )

    def fits(self, found: Estimate) -> Fits:
        """The largest batch, and the longest row, that there is room for."""
        room = self.available - found.averaged + found.saved
        return fits(self.cfg, self.imagination, found.batch, room)

    @property
    def available(self) -> int:
        """On a CPU all processes share one memory."""
        return memory(self.device) // (self.processes if self.device.type == "cpu" else 1)

    def _task(self):
        made = build.model(self.cfg, self.data.spec)
        return build.task(self.cfg, made, self.data.spec)

    @property
    def _weights(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.imagination.task.parameters())

    @property
    def _averaged(self) -> int:
        """Lightning's WeightAveraging keeps a second model."""
        callbacks = (self.cfg.callbacks or {}).values()
        return self._weights * sum("WeightAveraging" in str(part._target_) for part in callbacks if part is not None)

    def _saved(self, peak: Peak) -> int:
        strategy = str(self.cfg.trainer.strategy).lower()
        if not any(word.lower() in strategy for word in SHARDED):
            return 0
        return sum(peak.kinds.get(kind, 0) for kind in STATE) * (self.processes - 1) // self.processes


def device_of(cfg: DictConfig) -> torch.device:
    """Where Lightning will put the run."""
    accelerator = str(cfg.trainer.accelerator)
    gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda", 0) if gpu else torch.device("cpu")


def _processes(cfg: DictConfig) -> int:
    """Of one node."""
    devices = cfg.trainer.devices
    if not isinstance(devices, str | int):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return max(1, torch.cuda.device_count()) if device_of(cfg).type == "cuda" else 1
    return max(1, int(devices)) if str(devices).isdigit() else len(str(devices).split(","))


def _limits(cfg: DictConfig) -> tuple[int | float | None, int | float | None]:
    return cfg.trainer.limit_train_batches, cfg.trainer.limit_val_batches


def _counted(batches: int, limit: int | float) -> int:
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _steps(cfg: DictConfig, batches: int) -> tuple[int | None, int | None]:
    """Optimizer steps and epochs of the run."""
    epochs, most = cfg.trainer.max_epochs, cfg.trainer.max_steps
    each = math.ceil(batches / cfg.trainer.accumulate_grad_batches)
    bounds = [most] if most != -1 else []
    bounds += [epochs * each] if epochs not in (None, -1) else []
    steps = min(bounds, default=None)
    return steps, None if steps is None else math.ceil(steps / max(1, each))
