"""The command of a sweep as its folder keeps it, in sweep.yaml."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from manyheads.config.quoting import quoted
from manyheads.errors import UserError

BOOK = "sweep.yaml"
FREE = (
    "force",
    "sweep.",
    "hydra.mode",
    "hydra.run.",
    "hydra.sweep.",
    "hydra.launcher.",
    "hydra/launcher",
    "hydra.verbose",
    "hydra.job_logging",
    "hydra.hydra_logging",
    "hydra.sweeper.n_trials",
)
"""What another start of a sweep may say otherwise: where and how its jobs run, and how many trials are wanted."""


def again(folder: Path, overrides: list[str]) -> list[str]:
    """The command line that goes on with the sweep in `folder`. Raises UserError for what may not change."""
    for override in overrides:
        if not key_of(override).startswith(FREE):
            raise UserError(f"{override} cannot change in the middle of a sweep: leave it out, or start anew.")
    kept = [override for override in overrides if key_of(override) != "hydra.sweep.dir"]
    begun = read(folder)
    if any(key_of(override) == "hydra/launcher" for override in kept):
        # What was said to the launcher from before means nothing to another one.
        begun = [line for line in begun if not key_of(line).startswith(("hydra/launcher", "hydra.launcher."))]
    return [*begun, *kept, f"hydra.sweep.dir={quoted(folder.absolute())}"]


def read(folder: Path) -> list[str]:
    """The overrides that the sweep was first started with."""
    path = folder / BOOK
    try:
        lines = [str(line) for line in yaml.safe_load(path.read_text(encoding="utf-8"))["overrides"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as problem:
        raise UserError(
            f"{path} cannot be read, so this sweep cannot go on: {str(problem).splitlines()[0]}."
        ) from problem
    for line in lines:
        # The folder may be a stranger's, and Hydra makes any class that a callback of its own names.
        if "_target_" in line or key_of(line).startswith("hydra.callbacks"):
            raise UserError(f"{path} asks for {line}, which could run any code: type the command itself.")
    return lines


def deciding(overrides: Iterable[str]) -> list[str]:
    """The overrides that decide which jobs there are."""
    return sorted(o for o in overrides if not key_of(o).startswith(FREE))


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
