"""What an estimate is for: the table of `estimate=true`, and a look ahead at the start of every run."""

import logging
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningDataModule, seed_everything
from omegaconf import DictConfig

from manyheads import build
from manyheads.config import paths, refusals
from manyheads.config.layers import name_layers, title
from manyheads.errors import UserError
from manyheads.estimate.estimate import Estimate, Estimator, device_of
from manyheads.estimate.show import refusal, show
from manyheads.training.memory import resident
from manyheads.training.quiet import quiet_lightning

log = logging.getLogger(__name__)


def tell(cfg: DictConfig) -> None:
    """Prints what the run would take, and runs nothing. Data is prepared, since it decides sizes."""
    quiet_lightning()
    hydra = HydraConfig.get()
    paths.make_absolute(cfg)
    chosen, overrides = str(hydra.runtime.choices.get("attention")), list(hydra.overrides.task)
    name_layers(cfg, chosen, overrides)
    refusals.refuse(cfg, overrides)
    build.refuse_absent(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    try:
        estimator = Estimator(cfg, data, device_of(cfg))
        found = estimator.estimate()
    except NotImplementedError as problem:
        raise UserError(f"This run cannot be estimated: {_first(problem)}.") from problem
    show(found, estimator.fits(found), title(cfg, chosen))


def foresee(cfg: DictConfig, data: LightningDataModule) -> dict[str, float] | None:
    """What a run that is about to begin will take, for its record; None where it cannot be told.

    Raises UserError where it cannot fit, unless `force`.
    """
    device = device_of(cfg)
    if device.type == "cuda" and any(word in str(cfg.trainer.strategy) for word in ("fork", "spawn")):
        return None  # A GPU that this process has touched is lost to those that it forks.
    try:
        estimator = Estimator(cfg, data, device)
        found = estimator.estimate()
        sentence = refusal(found, estimator.fits(found)) if found.lacks else None
    except UserError:
        raise
    except Exception as problem:  # whatever an attention of someone else does that cannot be imagined
        log.warning("What this run will take cannot be foretold: %s: %s", type(problem).__name__, _first(problem))
        return None
    if sentence and not cfg.force:
        raise UserError(sentence)
    if sentence:
        log.warning("%s", sentence)
    return _recorded(found, device)


def _recorded(found: Estimate, device: torch.device) -> dict[str, Any]:
    """On a CPU the process is there already, and what it holds counts in `cost.peak_memory_bytes`, too."""
    before = 0 if device.type == "cuda" else resident()
    return {
        "peak_memory_bytes": before + found.peak,
        "growth_bytes": found.peak,
        "step_seconds": found.step_seconds,
        "run_seconds": found.run_seconds,
    }


def _first(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0].rstrip(".")
