"""What a run leaves to go on from: `best.ckpt` by the monitored metric, `last.ckpt` and the one before it by time."""

import io
import logging
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from manyheads import atomic
from manyheads.errors import UserError

log = logging.getLogger(__name__)


def folder_of(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"


class Interrupted(BaseException):
    """The user or the system asked the run to stop; its state is saved. No Exception, so that nobody swallows it."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"{signal.Signals(number).name} at step {step}")
        self.number, self.step = number, step


class AtomicIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there. Lightning's own pass through /tmp, which is often another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        atomic.write(Path(path), lambda partial: _save(checkpoint, partial))


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    # Through memory: torch's zip writer hides what the disk said when it fails.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    path.write_bytes(buffer.getbuffer())


class Best(ModelCheckpoint):
    """Lightning's ModelCheckpoint, in the run's own folder under the name `best.ckpt`."""

    def __init__(self, monitor: str, mode: str) -> None:
        # At validations alone: an epoch that ends without one has no score.
        super().__init__(
            monitor=monitor,
            mode=mode,
            filename="best",
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dirpath = str(folder_of(trainer))
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A run's folder may have been moved: Lightning forgets the best score of another folder.
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class Last(Callback):
    """Saves `last.ckpt` every `every` optimizer steps, at the end, and when the run is told to stop.

    The one before is kept as `previous.ckpt`. SIGINT and SIGTERM are noted and obeyed after the step under way, so that
    what is saved is a state that training really passed through; a second SIGINT stops at once.
    """

    def __init__(self, every: int) -> None:
        self.every, self._saved, self._told = every, 0, None
        self._handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._handlers = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        due = trainer.global_step >= self._saved + self.every
        if (due or self._told is not None) and _whole(trainer, index):
            self._save(trainer)
            self._obey(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        self._obey(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _save(self, trainer: Trainer) -> None:
        last, self._saved = folder_of(trainer) / "last.ckpt", trainer.global_step
        partial = last.with_name("newest.ckpt")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            if last.exists():
                last.replace(last.with_name("previous.ckpt"))
            partial.replace(last)

    def _obey(self, trainer: Trainer) -> None:
        if self._told is not None:
            raise Interrupted(self._told, trainer.global_step)

    def _note(self, number: int, frame: Any) -> None:
        if self._told is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._told = number
        log.info("%s: stopping after this step.", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _whole(trainer: Trainer, index: int) -> bool:
    """Whether a checkpoint after this batch is a place to go on from exactly.

    It is not where a validation comes next, since the run would be resumed behind it, nor between the batches of one
    optimizer step, since gradients are not saved.
    """
    validates = trainer.is_last_batch or (index + 1) % trainer.val_check_batch == 0
    return not validates and (index + 1) % trainer.accumulate_grad_batches == 0


def newest(folder: Path) -> Path | None:
    """The checkpoint to go on from, by training step; one that is cut short is named and passed over.

    best.ckpt only where there is no other: at the end of a training it may hold a mean of weights.
    """
    for names in (("last", "previous", "newest"), ("best",)):
        paths = [path for name in names if (path := folder / f"{name}.ckpt").exists()]
        found = [state for path in paths if (state := _step(path)) is not None]
        if found:
            return max(found)[1]
    return None


def _step(path: Path) -> tuple[int, Path] | None:
    try:
        return load(path)["global_step"], path
    except UserError as problem:
        log.warning("%s", problem)
        return None


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, read without running anything in it; a UserError if it is none or is cut short."""
    try:
        # Mapped, not read: the newest of several is found by one number.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        checkpoint["state_dict"], checkpoint["global_step"]
        return checkpoint
    except FileNotFoundError as problem:
        raise UserError(f"{path} is not there; name a run's folder that has checkpoints.") from problem
    except Exception as problem:
        reason = str(problem).splitlines()[0][:120]
        raise UserError(f"{path} is no whole checkpoint and is passed over ({reason}).") from problem
