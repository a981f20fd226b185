"""What TensorBoard compares runs by: the dozen settings that matter, and final scores."""

from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig

from manyheads.training.table import COLUMNS

HEADLINES = ("loss", *COLUMNS)


def log_hyperparameters(
    loggers: list[Logger], cfg: DictConfig, choices: dict[str, str], content: dict[str, Any]
) -> None:
    """Of metrics.json's content. Scores have names of their own: under the curves' they would be a point at step 0."""
    headlines = [(split, name) for split in ("val", "test") for name in HEADLINES if name in content[split]]
    scores = {f"final/{split}_{name}": content[split][name] for split, name in headlines}
    scores["final/tokens_per_second"] = content["cost"]["tokens_per_second"] or 0.0
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(_settings(cfg, choices), scores)
            logger.finalize("success")


def _settings(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    chosen = {group: choices[group] for group in ("data", "model", "attention", "position", "schedule")}
    sizes = {key: cfg.model[key] for key in ("dim", "heads", "hidden", "dropout") if key in cfg.model}
    return {**chosen, **sizes, "lr": cfg.optimizer.lr, "seed": cfg.seed, "precision": str(cfg.trainer.precision)}
