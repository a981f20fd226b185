"""A resumed run goes on as if it had never stopped: Lightning restores weights, optimizers and loops; this the dice."""

import logging
import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class Dice(Callback):
    """Ranks throw dice of their own; all states are saved, and restored before the first step after a resume.

    Not earlier: whatever Lightning draws while it sets up would otherwise count twice.
    """

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": _all(_state())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict.get("ranks", [state_dict])  # an older version saved those of rank 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loaded and len(self._loaded) != trainer.world_size:
            log.warning(
                "This run was saved by %d processes and goes on with %d: until the epoch ends, they read other batches "
                "than those would have.",
                len(self._loaded),
                trainer.world_size,
            )
        if trainer.global_rank > 0:  # all were given the same seed, so that their weights are the same
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        loaded, self._loaded = self._loaded, []
        # Ranks that were not there before go on with their own seed.
        if trainer.global_rank < len(loaded):
            _restore(loaded[trainer.global_rank])


def _state() -> dict[str, Any]:
    """Of this process, and of the GPU that it uses."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        "numpy": [kind, keys.tolist(), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def _restore(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
    np.random.set_state(tuple(state["numpy"]))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def _all(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of all ranks, in order."""
    if not (dist.is_available() and dist.is_initialized()):
        return [state]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, state)
    return found
