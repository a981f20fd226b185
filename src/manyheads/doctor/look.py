"""All that the doctor looks at; a mistake keeps nothing from being looked at that can do without what it broke."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning import LightningDataModule
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from manyheads import build, preflight
from manyheads.config import refusals
from manyheads.data.base import TokenSpec
from manyheads.doctor.checks import Findings
from manyheads.doctor.data import data_checks, first_batch
from manyheads.doctor.environment import environment
from manyheads.doctor.heard import hearing
from manyheads.doctor.kernels import kernels
from manyheads.doctor.lengths import by_length
from manyheads.doctor.making import Read, make_task, read_data, ready
from manyheads.doctor.speed import memory, times
from manyheads.doctor.trainer import trainer_check
from manyheads.doctor.typed import key_of, read
from manyheads.errors import UserError
from manyheads.estimate.estimate import device_of
from manyheads.training.quiet import quiet_lightning

ASKED = "(data.on_duplicate=keep)"
"""In a warning of what the doctor does for itself, and tells in its own words."""


def look(overrides: list[str], waits: str | None) -> Findings:
    """waits: OMP_WAIT_POLICY as the user's shell has it. Raises UserError where there is nothing to look at."""
    quiet_lightning()
    found = Findings()
    with hearing() as heard:
        _look(overrides, waits, found)
    for sentence in dict.fromkeys(heard.sentences):
        if ASKED not in sentence:
            found.add("data", "warning", "yellow", sentence)
    return found


def _look(overrides: list[str], waits: str | None, found: Findings) -> None:
    typed = read(overrides)
    _refuse_old(typed.cfg)
    environment(typed.cfg, found, waits)
    for sentence, override in typed.wrong:
        found.add("config", "mistake", "red", sentence, override=override)
    for reason in refusals.reasons(typed.cfg, typed.overrides):
        found.add("config", "refused", "red", reason)
    with _cache(typed.cfg) as cache:
        cfg, overrides_left = _whole(typed.overrides, cache, found)
        if cfg is not None:
            _data_and_model(cfg, overrides_left, cache, found)
    if not any(check.light == "red" for check in found.of("config")):
        found.add("config", "overrides", "green", f"{len(overrides)} overrides, all of them understood.")


def _refuse_old(cfg: DictConfig) -> None:
    if cfg.resume is not None or cfg.prunes is not None:
        raise UserError("the doctor looks at runs that begin: leave out resume=, and give what the run was given.")


def _whole(overrides: list[str], cache: str, found: Findings) -> tuple[DictConfig | None, list[str]]:
    """The config and the overrides that it was made of: without those of layers, where these are wrong."""
    try:
        return ready(overrides, cache), overrides
    except UserError as problem:
        found.add("config", "mistake", "red", str(problem))
    plain = [override for override in overrides if key_of(override) not in ("layers_attention", "cross_attention")]
    return (None, overrides) if len(plain) == len(overrides) else _whole(plain, cache, found)


def _data_and_model(cfg: DictConfig, overrides: list[str], cache: str, found: Findings) -> None:
    begun = time.perf_counter()
    given = read_data(cfg, overrides, cache)
    for sentence in given.wrong:
        found.add("data", "not read" if given.borrowed else "rows not read", "red", sentence)
    if given.data is None:
        return
    if given.borrowed:
        found.add(
            "data", "stand-in", "yellow", "What follows is told of the package's own data, since yours is unread."
        )
    else:
        _batch(given, cfg, begun, found)
    task, whole, wrong = make_task(overrides, cache, given.data.spec)
    for sentence, override in wrong:
        found.add("config", "refused", "red", sentence, override=override)
    if task is not None:
        _model(given.data, task, whole, found)


def _batch(given: Read, cfg: DictConfig, begun: float, found: Findings) -> None:
    try:
        next(iter(given.data.train_dataloader()))
        first_batch(time.perf_counter() - begun, found)
    except UserError as problem:
        found.add("data", "first batch", "red", str(problem))
    data_checks(given.data, cfg, found)


def _model(data: LightningDataModule, task: LightningModule, cfg: DictConfig, found: Findings) -> None:
    try:
        build.refuse_absent(cfg)
    except UserError as problem:
        found.add("config", "refused", "red", str(problem))
        cfg = cfg.copy()
        cfg.trainer.accelerator, cfg.trainer.precision = "cpu", 32
    count = sum(weight.numel() for weight in task.model.parameters())
    found.add("model", "parameters", "green", f"{count:,} parameters.", parameters=count)
    trainer_check(cfg, found)
    kernels(task.model, cfg, isinstance(data.spec, TokenSpec) and data.spec.kind == "language_model", found)
    _trust(task, cfg, found)
    _costs(data, task, cfg, found)


def _trust(task: LightningModule, cfg: DictConfig, found: Findings) -> None:
    """The checks that a run makes before it trains, all of them."""
    try:
        for finding in preflight.examine(task.model, cfg.trainer.precision, device_of(cfg)):
            found.add("model", finding.name, "green" if finding.ok else "red", f"{finding.sentence}.")
    except UserError as problem:
        found.add("model", "checks", "red", str(problem))


def _costs(data: LightningDataModule, task: LightningModule, cfg: DictConfig, found: Findings) -> None:
    """Times are taken of a run that can begin: those of another one would be told of nothing."""
    try:
        foreseen = memory(data, cfg, found)
        if found.sick:
            found.add("speed", "times", "yellow", "Not measured: mend what is wrong first.")
        else:
            times(data, task, cfg, foreseen, found)
            by_length(data, cfg, found)
    except UserError as problem:
        found.add("speed", "steps", "red", str(problem))


@contextmanager
def _cache(cfg: DictConfig) -> Iterator[str]:
    """The run's own where it is there already; else one that is thrown away."""
    asked = Path(cfg.paths.cache).expanduser().absolute()
    if asked.is_dir():
        yield str(asked)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder
