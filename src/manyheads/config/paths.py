"""Paths that were typed in a config."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def make_absolute(cfg: DictConfig) -> None:
    """Typed paths as seen from here: a run is evaluated and resumed from other places."""
    for key in ("data.path", "ckpt_path", "arch", "paths.outputs"):
        typed = OmegaConf.select(cfg, key)
        if typed is not None:
            OmegaConf.update(cfg, key, str(Path(typed).expanduser().absolute()))
