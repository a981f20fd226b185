"""A small model trained without a run around it: seconds that thirty models do not have are saved on each."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, seed_everything
from omegaconf import DictConfig

from manyheads import build
from manyheads.task.base import groups


def made(cfg: DictConfig, data: Any) -> LightningModule:
    """The task of a config with its model, as a run would begin it."""
    seed_everything(cfg.seed, verbose=False)
    return build.task(cfg, build.model(cfg, data.spec), data.spec)


def taught(cfg: DictConfig, data: Any, steps: int) -> tuple[LightningModule, dict[str, float]]:
    """A model after so many steps with the config's optimizer and schedule; the mean loss of its last tenth."""
    task = made(cfg, data).train()
    optimizer = task._optimizer(groups(task.model))
    schedule, losses, begun = task._schedule(optimizer, total=steps), [], time.process_time()
    for _, batch in zip(range(steps), forever(data), strict=False):
        loss = task.step(batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    last = float(torch.stack(losses[-max(1, steps // 10) :]).mean())
    count = sum(weight.numel() for weight in task.model.parameters())
    spent = time.process_time() - begun
    return task.eval(), {"train_loss": last, "parameters": count, "cpu_seconds": round(spent, 1)}


def forever(data: Any) -> Iterator[Any]:
    loader = data.train_dataloader()
    while True:
        yield from loader


def said(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
