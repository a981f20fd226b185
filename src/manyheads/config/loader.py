"""Hydra's composition, with a config checked as soon as it is whole and mistakes told in one sentence.

Hydra has no hook between composition and the making of the run's folder (its callbacks swallow exceptions), so its
loader is replaced while a command runs. Every job of a sweep passes here before the first one starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from manyheads.config.check import mistakes, refuse, wrong
from manyheads.config.errors import explain_composition
from manyheads.errors import UserError


class CheckedLoader(ConfigLoaderImpl):
    """starts: whether a run follows, for which everything must be set; else its config is only shown."""

    starts = True

    def load_configuration(self, config_name, overrides, run_mode, *args, **kwargs) -> DictConfig:
        # Hydra has ~group alone for this, which no sweep over `pruning=null,...` can say.
        overrides = [self._without_null(override) for override in overrides]
        try:
            cfg = super().load_configuration(config_name, overrides, run_mode, *args, **kwargs)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
            if kwargs.get("validate_sweep_overrides") is False:
                raise  # Hydra only asks for the mode here, and takes any exception for "unknown"
            sentence = explain_composition(error, Attempt(self, config_name, overrides))
            if sentence is None:
                raise
            raise UserError(sentence) from error
        if run_mode == RunMode.RUN and config_name is not None:
            refuse(self._mistakes(cfg))
        return cfg

    def _mistakes(self, cfg: DictConfig) -> list[str]:
        return mistakes(cfg) if self.starts else wrong(cfg)

    def _without_null(self, override: str) -> str:
        group, _, value = override.partition("=")
        return f"~{group}" if value == "null" and self.repository.group_exists(group) else override


class Attempt:
    """A command that failed to compose (errors.Composition)."""

    def __init__(self, loader: CheckedLoader, config_name: str | None, overrides: list[str]) -> None:
        self.loader, self.config_name, self.overrides = loader, config_name, overrides

    def groups(self, parent: str = "") -> list[str]:
        names = self.loader.list_groups(parent)
        here = [f"{parent}/{name}" if parent else name for name in names if parent or name != "hydra"]
        return [deeper for group in here for deeper in [group, *self.groups(group)]]

    def options(self, group: str) -> list[str]:
        return self.loader.get_group_options(group)

    def has(self, group: str, option: str, key: str) -> bool:
        try:
            loaded = self.loader.repository.load_config(f"{group}/{option}")
        except (ConfigLoadError, OmegaConfBaseException, YAMLError):
            return False
        return isinstance(loaded.config, DictConfig) and any(
            OmegaConf.select(loaded.config, path) is not None for path in (key, f"{group}.{key}")
        )

    def without(self, key: str) -> DictConfig:
        """The config of the command less what it says about a key, and less what does not compose either."""
        kept = [o for o in self.overrides if o.partition("=")[0].lstrip("+~") != key]
        while True:
            try:
                return self._plain(kept)
            except (HydraException, OmegaConfBaseException, ValueError):
                if not kept:
                    raise
                kept = kept[:-1]

    def _plain(self, overrides: list[str]) -> DictConfig:
        return ConfigLoaderImpl.load_configuration(
            self.loader, self.config_name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )


class ShowingLoader(CheckedLoader):
    starts = False


class LenientLoader(CheckedLoader):
    """Explains what does not compose, and leaves the mistakes of what does to those who ask for them."""

    def _mistakes(self, cfg: DictConfig) -> list[str]:
        return []


@contextmanager
def checked(starts: bool = True) -> Iterator[None]:
    """While this lasts, every composition of Hydra's is checked."""
    with composing_by(CheckedLoader if starts else ShowingLoader):
        yield


@contextmanager
def composing_by(loader: type[CheckedLoader]) -> Iterator[None]:
    with mock.patch.object(hydra._internal.hydra, "ConfigLoaderImpl", loader):
        yield
