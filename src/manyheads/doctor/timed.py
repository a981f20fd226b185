"""Seconds of training steps, taken as a run takes them but for its logs and checkpoints."""

import time
from collections.abc import Iterable

import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from manyheads.data.batch import Batch
from manyheads.estimate.estimate import device_of
from manyheads.estimate.step import AUTOCAST, TRUE
from manyheads.task.base import groups

BUDGET = 8.0
"""Seconds after which no further step is taken."""


def timed(task: LightningModule, cfg: DictConfig, batches: Iterable[Batch]) -> tuple[float, float]:
    """Seconds of a batch, and tokens a second: means over all but the first, which allocates. Changes the weights.

    Where the first takes the whole BUDGET, it has to do.
    """
    device, precision = device_of(cfg), str(cfg.trainer.precision)
    task.train().to(device, TRUE.get(precision))
    optimizer = task._optimizer(groups(task.model))
    taken: list[tuple[float, int]] = []
    for batch in batches:
        begun = time.perf_counter()
        _step(task, optimizer, batch, device, AUTOCAST.get(precision))
        taken.append((time.perf_counter() - begun, batch.tokens))
        if sum(seconds for seconds, _ in taken) > BUDGET:
            break
    counted = taken[1:] or taken
    seconds, tokens = (sum(column) for column in zip(*counted, strict=True))
    return seconds / len(counted), tokens / seconds


def _step(
    task: LightningModule, optimizer: torch.optim.Optimizer, batch: Batch, device: torch.device, low: torch.dtype | None
) -> None:
    given = batch.to(device)
    with torch.autocast(device.type, low, enabled=low is not None, cache_enabled=False):
        loss = task.step(given).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
