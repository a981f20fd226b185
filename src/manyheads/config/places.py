"""Where the configuration lies: in the package of an installed wheel, beside `src/` in a clone."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """The absolute folder that holds train.yaml and one folder per group."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "conf"
