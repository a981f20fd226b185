"""Progress where there is no terminal: one line per validation, with the time that is left."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import print as show


class ProgressLines(Callback):
    """epoch, step, losses and time left, for logs and pipes; a terminal has Lightning's rich bar instead."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        total, step = int(trainer.estimated_stepping_batches), trainer.global_step
        rate = (time.monotonic() - self._begun) / max(1, step - self._first)
        words = [f"epoch {trainer.current_epoch + 1}", f"step {step:,} of {total:,}", *_figures(trainer)]
        show(" · ".join([*words, f"{duration(rate * (total - step))} left"]), flush=True)


def _figures(trainer: Trainer) -> list[str]:
    wanted = ("train/loss", "val/loss", "val/accuracy", "val/bleu")
    found: dict[str, Any] = trainer.callback_metrics
    return [f"{name} {float(found[name]):.3f}" for name in wanted if name in found]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the largest two."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
