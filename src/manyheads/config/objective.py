"""What a sweep is told of a run: the metrics that it makes best."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.config.refusals import SPLITS, objectives
from manyheads.errors import UserError


def objective(cfg: DictConfig, content: Mapping[str, Any]) -> float | list[float] | None:
    """`optimized_metric` from the content of metrics.json; a UserError where one was not measured."""
    found = [_found(name, content) for name in objectives(cfg)]
    return (found if OmegaConf.is_list(cfg.optimized_metric) else found[0]) if found else None


def _found(wanted: str, content: Mapping[str, Any]) -> float:
    split, _, name = wanted.partition("/")
    value = content.get(split, {}).get(name)
    if value is None:
        known = [f"{s}/{n}" for s in SPLITS for n in content[s]]
        raise UserError(f"optimized_metric={wanted} was not measured; choose one of {', '.join(known)}.")
    return float(value)
