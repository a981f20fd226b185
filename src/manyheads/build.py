"""From a config to objects, in the order data, model, task, trainer."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from manyheads.config.objects import instantiate
from manyheads.data.base import DataSpec
from manyheads.errors import UserError
from manyheads.model.shapes import DecoderOnly
from manyheads.training.checkpoints import AtomicIO
from manyheads.training.lines import ProgressLines


def data(cfg: DictConfig) -> LightningDataModule:
    return instantiate(cfg.data)


def model(cfg: DictConfig, spec: DataSpec) -> nn.Module:
    """The model for data of this `spec`, or the reason why the two do not go together."""
    made = instantiate(cfg.model)(spec=spec)
    for reason in (_unfit(made, spec), _too_long(made, spec)):
        if reason is not None:
            raise UserError(reason)
    return made


def task(cfg: DictConfig, made: nn.Module, spec: DataSpec) -> LightningModule:
    optimizer, schedule = instantiate(cfg.optimizer), instantiate(cfg.schedule)
    return instantiate(cfg.task)(model=made, spec=spec, optimizer=optimizer, schedule=schedule)


def trainer(cfg: DictConfig, folder: Path, extra: list[Callback]) -> Trainer:
    """What trains: logs and checkpoints go to `folder`."""
    callbacks = [instantiate(part) for part in (cfg.callbacks or {}).values() if part is not None]
    loggers: list[Logger] = [instantiate(part)(save_dir=str(folder)) for part in (cfg.logger or {}).values()]
    return _trainer(cfg, folder, [*callbacks, *extra], logger=loggers, plugins=[AtomicIO()])


def evaluator(cfg: DictConfig, folder: Path) -> Trainer:
    """What validates and tests finished weights: no callback of the training may touch them."""
    return _trainer(cfg, folder, [], logger=False, enable_checkpointing=False)


def _trainer(cfg: DictConfig, folder: Path, callbacks: list[Callback], **arguments: Any) -> Trainer:
    if cfg.trainer.enable_progress_bar:
        # A bar redraws itself, which a log file or a pipe cannot.
        callbacks = [*callbacks, RichProgressBar() if sys.stdout.isatty() else ProgressLines()]
    bar = cfg.trainer.enable_progress_bar and sys.stdout.isatty()
    return instantiate(
        cfg.trainer, callbacks=callbacks, default_root_dir=str(folder), enable_progress_bar=bar, **arguments
    )


def _unfit(made: nn.Module, spec: DataSpec) -> str | None:
    if spec.kind == "translation" and not hasattr(made, "decoding"):
        return (
            "model=encoder_only cannot write, so it cannot translate: take model=encoder_decoder or model=decoder_only."
        )
    return None


def _too_long(made: nn.Module, spec: DataSpec) -> str | None:
    limits = [module.limit for module in made.modules() if getattr(module, "limit", None) is not None]
    # One stream holds both sides.
    longest = spec.longest * (2 if isinstance(made, DecoderOnly) else 1)
    if limits and longest > min(limits):
        return (
            f"The longest sequence of the data has {longest} tokens, more than position.limit={min(limits)}: "
            f"set position.limit={longest} or more, or take position=rope."
        )
    return None
