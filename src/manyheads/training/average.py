"""The mean of the weights after each of the last validations, which is nearly always better than any one of them."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from manyheads import atomic
from manyheads.training.checkpoints import folder_of, unsettled
from manyheads.training.guard import numbers


class KeepWeights(Callback):
    """Keeps the weights after each of the last `keep` validations in `checkpoints/recent/`."""

    def __init__(self, keep: int) -> None:
        self.keep = keep

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or unsettled(trainer):
            return
        # By all ranks together: each may hold a part of every tensor.
        weights = {name: value.cpu() for name, value in trainer.strategy.lightning_module_state_dict().items()}
        if not trainer.is_global_zero:
            return
        # Of weights that are no numbers there is no mean; the guard says what happened as soon as they are saved.
        if not numbers(weights[name] for name, _ in pl_module.named_parameters()):
            return
        atomic.write(
            kept_in(folder_of(trainer)) / f"step_{trainer.global_step:08d}.pt", lambda path: torch.save(weights, path)
        )
        for old in recent(folder_of(trainer))[: -self.keep]:
            old.unlink()


def kept_in(checkpoints: Path) -> Path:
    return checkpoints / "recent"


def recent(checkpoints: Path) -> list[Path]:
    """Kept weights, oldest first."""
    return sorted(kept_in(checkpoints).glob("step_*.pt"))


def mean(paths: list[Path], parameters: set[str]) -> dict[str, Any]:
    """The mean of the named parameters, in fp64 on the way; buffers are taken from the newest."""
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
            if name in parameters:
                sums[name] = sums[name] + value.double() if name in sums else value.double()
    newest = torch.load(paths[-1], map_location="cpu", weights_only=True)
    return {
        name: (sums[name] / len(paths)).to(value.dtype) if name in parameters else value
        for name, value in newest.items()
    }
