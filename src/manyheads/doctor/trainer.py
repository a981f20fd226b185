"""The trainer with its callbacks and loggers, made as a run makes it."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from manyheads import build
from manyheads.config.errors import explain
from manyheads.config.objects import instantiate
from manyheads.doctor.checks import Findings


def trainer_check(cfg: DictConfig, found: Findings) -> None:
    """Each part by itself, so that a mistake in one hides none in another."""
    parts = [("trainer", lambda folder: build.trainer(_bare(cfg), folder, []))]
    parts += [(f"callbacks.{name}", partial(_part, part)) for name, part in (cfg.callbacks or {}).items() if part]
    parts += [("pruning", lambda _: build.pruner(cfg))]
    sick = False
    with tempfile.TemporaryDirectory() as folder:
        for name, make in parts:
            try:
                make(Path(folder))
            except Exception as problem:
                sentence = explain(problem)
                if sentence is None:
                    raise
                sick = True
                found.add("config", name, "red", sentence)
    if not sick:
        found.add("config", "trainer", "green", "The trainer can be built, with all its callbacks.")


def _part(part: DictConfig, _: Path) -> Any:
    return instantiate(part)


def _bare(cfg: DictConfig) -> DictConfig:
    bare = cfg.copy()
    bare.callbacks, bare.logger = {}, {}
    return bare
