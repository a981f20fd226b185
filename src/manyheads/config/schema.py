"""The keys at the top of every config, with their types; no values, those live in conf/train.yaml."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class SweepKeys:
    jobs: int | None = None


@dataclass
class Schema:
    """A group that is MISSING must be chosen; its inside is checked against the class that it builds."""

    seed: int = MISSING
    train: bool = MISSING
    test: bool = MISSING
    preflight: bool | None = None
    ckpt_path: str | None = None
    arch: str | None = None
    prunes: str | None = None
    resume: str | None = None
    estimate: bool = MISSING
    force: bool = MISSING
    compile: bool = MISSING
    activation_checkpointing: bool = MISSING
    optimized_metric: Any = None  # a name or a list of names, which OmegaConf has no type for
    sweep: SweepKeys | None = None

    position: Any = MISSING
    attention: Any = MISSING
    layers_attention: list[str] | None = None
    cross_attention: str | None = None
    attentions: Any = None
    model: Any = MISSING
    task: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = None
    data: Any = MISSING
    pruning: Any = None
    trainer: Any = MISSING
    callbacks: Any = None
    logger: Any = None
    paths: Any = MISSING


def register() -> None:
    """Lets a defaults list name `schema`."""
    ConfigStore.instance().store(name="schema", node=Schema, provider="manyheads")
