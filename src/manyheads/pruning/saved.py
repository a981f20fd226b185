"""What checkpoints say of a model that is not whole, and who may load them."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from manyheads.errors import UserError
from manyheads.pruning.architecture import Architecture, narrow, parse

KEY = "architecture"
"""Of a checkpoint: `Architecture.content()` of its model; it has none where the model is whole."""


class SaysArchitecture(Callback):
    """Every checkpoint of a smaller model says what it is."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        found = Architecture.of(pl_module.model)
        if not found.whole:
            checkpoint[KEY] = found.content()


def narrow_as(model: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Makes a whole model as small as that of a checkpoint. Raises UserError where it is of another model."""
    if KEY in checkpoint:
        narrow(model, parse(checkpoint[KEY], str(path)), str(path))


def gated(checkpoint: dict[str, Any]) -> bool:
    """Whether its weights are right only with the gates that its pruner has."""
    state = checkpoint.get("callbacks", {}).get("Pruner", {})
    return "gates" in state and not state["compacted"]


def refuse_gated(checkpoint: dict[str, Any], path: Path) -> None:
    """Raises UserError for weights that are of no use by themselves."""
    if gated(checkpoint):
        raise UserError(
            f"{path} was saved in the midst of a pruning: finish that run, and take what it then leaves "
            f"(python train.py resume={path.parent.parent})."
        )
