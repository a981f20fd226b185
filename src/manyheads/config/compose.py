"""A config without a run: for benchmarks, for tests, and for taking a single part."""

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from manyheads.config.launch import register
from manyheads.config.places import conf_folder


def compose(overrides: list[str]) -> DictConfig:
    """conf/train.yaml with `overrides`, without Hydra's own part; also where a run is under way."""
    register()
    under_way = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return hydra_compose("train", overrides)
    finally:
        GlobalHydra.instance().hydra = under_way
