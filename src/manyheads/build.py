"""From a config to objects, in the order data, model, task, trainer."""

import copy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from omegaconf import DictConfig
from torch import nn

from manyheads.attention.layers import Layers
from manyheads.config.layers import name_layers
from manyheads.config.objects import instantiate
from manyheads.config.refusals import objectives
from manyheads.data.base import DataSpec
from manyheads.errors import UserError
from manyheads.model.layers import CrossAttention
from manyheads.model.pairing import pair
from manyheads.model.shapes import DecoderOnly
from manyheads.model.stack import Stack, blocks
from manyheads.pruning.pruner import Pruner
from manyheads.task.base import groups
from manyheads.training.activation import recompute
from manyheads.training.checkpoints import AtomicIO
from manyheads.training.interrupts import AtOnce
from manyheads.training.lines import ProgressLines

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
"""By the names Lightning knows them by; here their tables go to the run's folder, as fit-profile.txt."""


def data(cfg: DictConfig) -> LightningDataModule:
    return instantiate(cfg.data)


def model(cfg: DictConfig, spec: DataSpec) -> nn.Module:
    """The model for data of this `spec`, or the reason why the two do not go together."""
    shape = instantiate(cfg.model)
    made = _sensible("model", lambda: pair(shape.func, partial(shape, **_attentions(cfg)), spec))
    for reason in (_too_long(made, spec), _misplaced(cfg, made)):
        if reason is not None:
            raise UserError(reason)
    if cfg.get("activation_checkpointing"):  # a run of an older version has no such key
        recompute(blocks(made))
    return made


def _attentions(cfg: DictConfig) -> dict[str, Any]:
    """What replaces the model's one attention where layers differ, or sequences read each other in another way."""
    if cfg.layers_attention is None and cfg.cross_attention is None:
        return {}
    name_layers(cfg)
    made = {name: instantiate(node) for name, node in cfg.attentions.items()}
    within = [made[name] for name in cfg.layers_attention or []] or [instantiate(cfg.attention)]
    return {"attention": Layers(within, made.get(cfg.cross_attention))}


def task(cfg: DictConfig, made: nn.Module, spec: DataSpec) -> LightningModule:
    optimizer, schedule = instantiate(cfg.optimizer), instantiate(cfg.schedule)
    # Made once to be looked at: Lightning makes its own when the training starts.
    _sensible("optimizer", lambda: optimizer(groups(made)))
    built = instantiate(cfg.task)(model=made, spec=spec, optimizer=optimizer, schedule=schedule)
    if built.monitor not in built.metrics:
        raise UserError(f"task.monitor={built.monitor} is not measured; choose one of {', '.join(built.metrics)}.")
    _refuse_unmeasured(cfg, built.metrics)
    return built


def _refuse_unmeasured(cfg: DictConfig, known: Sequence[str]) -> None:
    """Only names of the validation are known before it: a test set may have any name."""
    wanted = next((name for name in objectives(cfg) if name.startswith("val/") and name not in known), None)
    if wanted is not None:
        raise UserError(f"optimized_metric={wanted} is not measured; choose one of {', '.join(known)}.")


def _sensible(what: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; values that torch refuses become the user's error."""
    try:
        return make()
    except ValueError as problem:
        raise UserError(f"The {what} cannot be built: {problem}.") from problem


def pruner(cfg: DictConfig) -> Pruner | None:
    """The callback that prunes, where the run asks for one."""
    return None if cfg.pruning is None else instantiate(cfg.pruning)


def trainer(cfg: DictConfig, folder: Path, extra: list[Callback]) -> Trainer:
    """What trains: logs and checkpoints go to `folder`."""
    callbacks = [instantiate(part) for part in (cfg.callbacks or {}).values() if part is not None]
    loggers: list[Logger] = [instantiate(part)(save_dir=str(folder)) for part in (cfg.logger or {}).values()]
    return _trainer(cfg, folder, [*callbacks, *extra], logger=loggers, plugins=[AtomicIO()])


def refuse_absent(cfg: DictConfig) -> None:
    """Raises UserError where the run asks for what only a GPU has, and there is none."""
    asked, found = str(cfg.trainer.accelerator), torch.accelerator.is_available()
    if asked in ("gpu", "cuda") and not found:
        raise UserError(
            f"trainer.accelerator={asked}: torch finds no GPU here; take trainer=cpu, or ddp_sim or fsdp_sim to try "
            "two processes."
        )
    if str(cfg.trainer.precision) == "16-mixed" and (asked == "cpu" or (asked == "auto" and not found)):
        # Lightning would take bf16-mixed instead.
        raise UserError(
            "trainer.precision=16-mixed is for GPUs: on a CPU take bf16-mixed, which also needs no scaling."
        )


def evaluator(cfg: DictConfig, folder: Path) -> Trainer:
    """What validates and tests finished weights: no callback of the training may touch them.

    Where processes are forked, what they find stays with them: one process then evaluates. Where they share weights
    out, each now has all of them: ranks write different numbers of words, and cannot wait for each other meanwhile.
    """
    cfg = copy.deepcopy(cfg)
    if shares(cfg):
        cfg.trainer.strategy = "ddp"
    if "fork" in str(cfg.trainer.strategy) or "spawn" in str(cfg.trainer.strategy):
        cfg.trainer.strategy, cfg.trainer.devices = "auto", 1
    return _trainer(cfg, folder, [AtOnce()], logger=False, enable_checkpointing=False, plugins=[AtomicIO()])


def shares(cfg: DictConfig) -> bool:
    """Whether processes share the weights out among them."""
    return "FSDP2" in str(cfg.trainer.strategy)


def _trainer(cfg: DictConfig, folder: Path, callbacks: list[Callback], **arguments: Any) -> Trainer:
    if cfg.trainer.enable_progress_bar:
        # A bar redraws itself, which a log file or a pipe cannot.
        callbacks = [*callbacks, RichProgressBar() if sys.stdout.isatty() else ProgressLines()]
    bar = cfg.trainer.enable_progress_bar and sys.stdout.isatty()
    if cfg.trainer.profiler in PROFILERS:
        arguments["profiler"] = PROFILERS[cfg.trainer.profiler](dirpath=str(folder), filename="profile")
    return instantiate(
        cfg.trainer, callbacks=callbacks, default_root_dir=str(folder), enable_progress_bar=bar, **arguments
    )


def _misplaced(cfg: DictConfig, made: nn.Module) -> str | None:
    across = [module for module in made.modules() if isinstance(module, CrossAttention)]
    if cfg.cross_attention is not None and not across:
        return f"cross_attention={cfg.cross_attention}: this model has no attention between sequences; leave it out."
    if cfg.cross_attention is not None and getattr(across[0].attention, "pattern", None) is not None:
        return (
            f"cross_attention={cfg.cross_attention}: a pattern speaks of places within one sequence and would hide "
            "nothing between two; take dense."
        )
    names = cfg.layers_attention or []
    layers = max(len(stack.blocks) for stack in made.modules() if isinstance(stack, Stack))
    if len(names) > layers:
        return (
            f"layers_attention names {len(names)} attentions, but no part of the model has more than {layers} layers."
        )
    return None


def _too_long(made: nn.Module, spec: DataSpec) -> str | None:
    limits = [module.limit for module in made.modules() if getattr(module, "limit", None) is not None]
    # One stream holds both sides of a pair.
    longest = spec.longest * (2 if isinstance(made, DecoderOnly) and spec.kind == "translation" else 1)
    if limits and longest > min(limits):
        return (
            f"The longest sequence of the data has {longest} tokens, more than position.limit={min(limits)}: "
            f"set position.limit={longest} or more, or take position=rope."
        )
    return None
