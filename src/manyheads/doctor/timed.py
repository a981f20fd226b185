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


def timed(task: LightningModule, cfg: DictConfig, batches: Iterable[Batch]) -> tuple[float, float]:
    """Seconds of a batch, and tokens a second: means over all but the first, which allocates. Changes the weights."""
    device, precision = device_of(cfg), str(cfg.trainer.precision)
    task.train().to(device, TRUE.get(precision))
    optimizer = task._optimizer(groups(task.model))
    spent, tokens, counted = 0.0, 0, -1
    for batch in batches:
        begun = time.perf_counter()
        _step(task, optimizer, batch, device, AUTOCAST.get(precision))
        counted += 1
        if counted:
            spent, tokens = spent + time.perf_counter() - begun, tokens + batch.tokens
        else:
            first = time.perf_counter() - begun, batch.tokens
    if counted < 1:  # data of a single batch
        (spent, tokens), counted = first, 1
    return spent / counted, tokens / spent


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
