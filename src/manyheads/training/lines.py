"""Progress where there is no terminal: one line per validation, with the time that is left."""

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer


class ProgressLines(Callback):
    """epoch, step, losses and time left, for logs and pipes; a terminal has Lightning's rich bar instead."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        total, step = trainer.estimated_stepping_batches, trainer.global_step
        rate = (time.monotonic() - self._begun) / max(1, step - self._first)
        left = min([rate * (total - step), *_time_bounds(trainer)])
        end = [f"{duration(left)} left"] if math.isfinite(left) else []
        of = f" of {total:,}" if math.isfinite(total) else ""
        words = [f"epoch {trainer.current_epoch + 1}", f"step {step:,}{of}", *_figures(trainer), *end]
        print(" · ".join(words), flush=True)


def _time_bounds(trainer: Trainer) -> list[float]:
    """Seconds that `trainer.max_time` leaves."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
    return [left for timer in timers if (left := timer.time_remaining()) is not None]


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
