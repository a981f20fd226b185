"""From a config's node to the object that it describes: the only caller of Hydra's instantiate.

A config may come from a stranger's run folder, so only classes of manyheads, torch.nn, torch.optim, Lightning and
Optuna's samplers and pruners are ever made, whatever the config says.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig

from manyheads.errors import UserError

TRUSTED = ("manyheads.", "torch.nn.", "torch.optim.", "lightning.pytorch.", "optuna.samplers.", "optuna.pruners.")


def instantiate(config: DictConfig, **arguments: Any) -> Any:
    """The object that `config` describes; a UserError names a target that no config may make."""
    for key, target in _targets(config):
        _check_target(key, target)
    try:
        return hydra.utils.instantiate(config, **arguments, _convert_="all")
    except InstantiationException as problem:
        # Hydra wraps what a constructor says; the user's mistake is the sentence inside.
        if isinstance(problem.__cause__, UserError):
            raise problem.__cause__ from None
        raise


def _targets(config: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every `_target_` below `config`, with the key that it stands under."""
    if isinstance(config, DictConfig | dict):
        if "_target_" in config:
            yield at, config["_target_"]
        children = config.items()
    elif isinstance(config, ListConfig | list):
        children = enumerate(config)
    else:
        return
    for key, child in children:
        yield from _targets(child, f"{at}.{key}" if at else str(key))


def _check_target(key: str, target: str) -> None:
    made = hydra.utils.get_object(target) if str(target).startswith(TRUSTED) else None
    # Where a class is defined counts, not the name by which it was reached: modules hold the modules they import.
    if not inspect.isclass(made) or not f"{made.__module__}.".startswith(TRUSTED):
        raise UserError(
            f"{key or 'The config'} asks for {target}; a config may only make classes of manyheads, torch.nn, "
            "torch.optim, lightning.pytorch, optuna.samplers and optuna.pruners."
        )
