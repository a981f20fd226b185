"""What the pipeline costs: a training step under Lightning, with all callbacks and logs, against a bare loop.

Both run in one process, in turns, over the same batches in the same order, so that a busy machine slows both.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig

from manyheads import build
from manyheads.task.base import groups
from manyheads.training.cost import Cost
from manyheads.training.exact import Dice
from manyheads.training.quiet import quiet_lightning


@dataclass(frozen=True)
class Spent:
    """Seconds per step: of the clock and of the processor."""

    wall: float
    cpu: float


def pipeline(cfg: DictConfig, steps: int, rounds: int) -> dict[str, Any]:
    """Medians over `rounds` turns of `steps` steps each, and the medians of the ratios within a turn."""
    quiet_lightning()
    cfg.trainer.max_steps, cfg.trainer.max_epochs, cfg.trainer.limit_val_batches = steps + WARM, -1, 0
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    turns = []
    for _ in range(rounds):
        turns.append((bare_loop(cfg, data, steps), under_lightning(cfg, data, steps)))
    return {
        "steps": steps,
        "rounds": rounds,
        "precision": str(cfg.trainer.precision),
        "bare": _medians([bare for bare, _ in turns]),
        "pipeline": _medians([ours for _, ours in turns]),
        "ratio": _medians([Spent(ours.wall / bare.wall, ours.cpu / bare.cpu) for bare, ours in turns]),
    }


WARM = 3
"""Steps before the clock starts: first allocations, and the one step whose arithmetic is counted."""


def bare_loop(cfg: DictConfig, data: Any, steps: int) -> Spent:
    """The training loop that one writes without a framework."""
    task = _task(cfg, data)
    task.train()
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu" else "cpu")
    task.to(device)
    optimizer = task._optimizer(groups(task.model))
    schedule = task._schedule(optimizer, total=steps + WARM)
    low = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(str(cfg.trainer.precision))
    begun = None
    for number, batch in enumerate(islice(_forever(data), steps + WARM)):
        if number == WARM:
            begun = _now(device)
        with torch.autocast(device.type, low, enabled=low is not None, cache_enabled=False):
            loss = task.step(batch.to(device)).loss
        loss.backward()
        if cfg.trainer.gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return _since(begun, device, steps)


def under_lightning(cfg: DictConfig, data: Any, steps: int) -> Spent:
    """The same steps as `train.py` runs them, with logs and checkpoints in a folder that is thrown away."""
    task, clock = _task(cfg, data), _Clock(steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build.trainer(cfg, Path(folder), [Dice(), Cost(), clock])
        trainer.fit(task, datamodule=data)
    return clock.spent


class _Clock(Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
        if trainer.global_step == WARM:
            self._begun = _now(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        if trainer.global_step == WARM + self.steps:
            self.spent = _since(self._begun, pl_module.device, self.steps)


def _task(cfg: DictConfig, data: Any) -> LightningModule:
    seed_everything(cfg.seed, verbose=False)
    return build.task(cfg, build.model(cfg, data.spec), data.spec)


def _forever(data: Any):
    loader = data.train_dataloader()
    while True:
        yield from loader


def _now(device: torch.device) -> tuple[float, float]:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float], device: torch.device, steps: int) -> Spent:
    wall, cpu = _now(device)
    return Spent((wall - begun[0]) / steps, (cpu - begun[1]) / steps)


def _medians(spent: list[Spent]) -> dict[str, float]:
    return {"wall": statistics.median(s.wall for s in spent), "cpu": statistics.median(s.cpu for s in spent)}
