"""Where the configuration lies: in the package of an installed wheel, beside `src/` in a clone."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """The absolute folder that holds train.yaml and one folder per group."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "conf"


def make_absolute(cfg: DictConfig) -> None:
    """Typed paths as seen from here: a run is evaluated and resumed from other places."""
    for key in ("data.path", "ckpt_path", "arch", "paths.outputs"):
        typed = OmegaConf.select(cfg, key)
        if typed is not None:
            OmegaConf.update(cfg, key, str(Path(typed).expanduser().absolute()))
