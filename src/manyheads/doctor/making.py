"""Data and model of a config, made in spite of its mistakes: each is told, and what comes after it is looked at too."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lightning import LightningDataModule
from lightning.pytorch import LightningModule, seed_everything
from omegaconf import DictConfig, OmegaConf

from manyheads import build
from manyheads.config import paths
from manyheads.config.errors import explain
from manyheads.config.layers import name_layers
from manyheads.data.base import DataSpec
from manyheads.doctor.typed import composed

T = TypeVar("T")

CURES = {"on_bad_row": "skip", "on_short": "skip", "missing": "mask"}
"""Keys of data that leave out, or stand for, what is wrong with some rows: so the others are read all the same."""

KEPT = {"on_duplicate": "keep"}
"""What the doctor asks for itself: it counts what a run would leave out, or refuse."""

Sentences = list[tuple[str, str | None]]
"""Mistakes, each with the override that made it, where that is known."""


@dataclass(frozen=True)
class Read:
    """data: prepared. wrong: what kept it from being read as asked. borrowed: it is the package's own instead."""

    data: LightningDataModule | None
    wrong: list[str]
    borrowed: bool


def ready(overrides: list[str], cache: str) -> DictConfig:
    """The config as a run would have it after its first lines. Raises UserError."""
    cfg, choices = composed([*overrides, f"paths.cache={cache}"])
    paths.make_absolute(cfg)
    name_layers(cfg, choices.get("attention"), overrides)
    return cfg


def read_data(cfg: DictConfig, overrides: list[str], cache: str) -> Read:
    """Where a mistake has a cure that leaves other rows alone, it is told and taken; else other data stands in."""
    cfg, wrong = cfg.copy(), []
    for key, value in KEPT.items():
        if key in cfg.data:
            cfg.data[key] = value
    while True:
        made = _tried(lambda: _prepared(cfg))
        if not isinstance(made, str):
            return Read(made, wrong, borrowed=False)
        wrong.append(made)
        key = next(
            (key for key in CURES if f"data.{key}" in made and cfg.data.get(key) not in (None, CURES[key])), None
        )
        if key is None:
            break
        cfg.data[key] = CURES[key]
    kept = [override for override in overrides if not override.lstrip("+~").startswith("data.")]
    own = _tried(lambda: _own(kept, cache))
    return Read(None if isinstance(own, str) else own, wrong, borrowed=True)


def _own(overrides: list[str], cache: str) -> LightningDataModule:
    return _prepared(ready(overrides, cache))


def _prepared(cfg: DictConfig) -> LightningDataModule:
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    return data


def make_task(overrides: list[str], cache: str, spec: DataSpec) -> tuple[LightningModule | None, DictConfig, Sentences]:
    """The model in its task. A mistake is laid on the last override without which it is gone, and that is left out."""
    wrong: Sentences = []
    while isinstance(made := _attempt(overrides, cache, spec), str):
        culprit = next((o for o in reversed(overrides) if _cures(o, overrides, made, cache, spec)), None)
        wrong.append((made, culprit))
        if culprit is None:
            return None, OmegaConf.create({}), wrong
        overrides = _without(overrides, culprit)
    return *made, wrong


def _cures(override: str, overrides: list[str], sentence: str, cache: str, spec: DataSpec) -> bool:
    """Whether leaving it out makes the mistake go, though perhaps show another one."""
    made = _attempt(_without(overrides, override), cache, spec)
    return not isinstance(made, str) or _wordless(made) != _wordless(sentence)


def _without(overrides: list[str], one: str) -> list[str]:
    return [override for override in overrides if override != one]


def _attempt(overrides: list[str], cache: str, spec: DataSpec) -> tuple[LightningModule, DictConfig] | str:
    return _tried(lambda: _task(ready(overrides, cache), spec))


def _wordless(sentence: str) -> str:
    """Without its numbers: the same mistake of another size is the same."""
    return re.sub(r"\d[\d.,]*", "#", sentence.partition(";")[0])


def _task(cfg: DictConfig, spec: DataSpec) -> tuple[LightningModule, DictConfig]:
    seed_everything(cfg.seed, workers=True, verbose=False)
    return build.task(cfg, build.model(cfg, spec), spec), cfg


def _tried(make: Callable[[], T]) -> T | str:
    """What is made, or the sentence that says why not. Raises what is no mistake of the user's."""
    try:
        return make()
    except Exception as problem:
        sentence = explain(problem)
        if sentence is None:
            raise
        return sentence
