"""What a run leaves to go on from: `best.ckpt` by the monitored metric, `last.ckpt` and the one before it by time."""

import io
import logging
import signal
import threading
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.training.collectives import add_up
from manyheads.training.interrupts import NUMBERS, Interrupted

log = logging.getLogger(__name__)


def folder_of(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"


def unsettled(trainer: Trainer) -> bool:
    """Whether a callback is still changing what the model is: what is validated now is not what will be left."""
    return any(getattr(callback, "unsettled", False) for callback in trainer.callbacks)


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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not unsettled(trainer):
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A run's folder may have been moved: Lightning forgets the best score of another folder.
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class Last(Checkpoint):
    """Saves `last.ckpt` every `every` optimizer steps, at the end, and when the run is told to stop.

    The one before is kept as `previous.ckpt`. SIGINT and SIGTERM are noted and obeyed after the step under way, so that
    what is saved is a state that training really passed through; a second SIGINT stops at once. Ranks ask each other
    after every step whether one of them was told, so that all save and leave at the same one: whoever went on alone
    would wait for the others for ever.

    A Checkpoint to Lightning, which calls those behind all other callbacks and the task: what is saved at the end of an
    epoch has been counted and reported.
    """

    def __init__(self, every: int) -> None:
        self.every, self._saved, self._told = every, 0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Here, since Lightning's own handler, which comes before, waits for other ranks in the midst of a step.

        What was there before them Lightning puts back when it is done.
        """
        self._saved = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if _whole(trainer, index):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where every step of an epoch meets a validation, no other moment is whole."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        told = self._agreed(trainer)
        if told or trainer.global_step >= self._saved + self.every:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        last, self._saved = folder_of(trainer) / "last.ckpt", trainer.global_step
        partial = last.with_name("newest.ckpt")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            if last.exists():
                last.replace(last.with_name("previous.ckpt"))
            partial.replace(last)
        told = self._agreed(trainer)  # while it was written, too
        if told:
            log.info("%s: stopped after step %s.", signal.Signals(told).name, trainer.global_step)
            raise Interrupted(told, trainer.global_step)

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that any rank was told to stop by; 0 for none."""
        if trainer.world_size == 1:
            return self._told
        told = torch.tensor([self._told == number for number in NUMBERS], dtype=torch.int32)
        told = told.to(trainer.strategy.root_device)
        add_up(told)
        return next((number for number, ranks in zip(NUMBERS, told.tolist(), strict=True) if ranks), 0)

    def _note(self, number: int, frame: Any) -> None:
        if self._told and number == signal.SIGINT:
            raise Interrupted(number)
        # No logging in a handler, which may come while a line is being written.
        self._told = self._told or number


def _whole(trainer: Trainer, index: int) -> bool:
    """Whether a checkpoint after this batch is a place to go on from exactly.

    It is not where a validation comes next, since the run would be resumed behind it, nor between the batches of one
    optimizer step, since gradients are not saved.
    """
    validates = trainer.is_last_batch or (index + 1) % trainer.val_check_batch == 0
    return not validates and (index + 1) % trainer.accumulate_grad_batches == 0


def newest(folder: Path) -> Path | None:
    """The checkpoint to go on from, by training step; one that is cut short is named and passed over.

    Of the same step, the one that was written last: the end of a training is no place in an epoch any more.
    best.ckpt only where there is no other: at the end of a training it may hold a mean of weights.
    """
    for names in (("newest", "last", "previous"), ("best",)):
        paths = [path for name in names if (path := folder / f"{name}.ckpt").exists()]
        found = [state for path in paths if (state := _step(path)) is not None]
        if found:
            return max(found, key=itemgetter(0))[1]
    return None


def settled_last(folder: Path) -> Path:
    """last.ckpt of a training that has ended; whoever was killed between two names has it under another one."""
    last, found = folder / "last.ckpt", newest(folder)
    if found is not None and found.name in ("newest.ckpt", "previous.ckpt"):
        found.replace(last)
    return last


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
