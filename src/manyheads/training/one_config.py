"""All processes of a run train the same settings, or none does."""

import hashlib
import json
import logging

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from manyheads.errors import UserError

log = logging.getLogger(__name__)


class OneConfig(Callback):
    """Compares the settings of all ranks before they train.

    Each rank composes its own from the command line: inside a search that chooses values in each process, ranks have
    trained different models without a word (PyTorch Lightning issue 11300).
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        found: list[str | None] = [None] * trainer.world_size
        dist.all_gather_object(found, fingerprint(pl_module.config))
        log.info("Settings by rank: %s", " ".join(map(str, found)))
        if len(set(found)) > 1:
            raise UserError(f"The processes of this run were started with different settings ({', '.join(found)}).")


def fingerprint(config: dict) -> str:
    """Twelve hexadecimal digits that stand for a config's content."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]
