"""Memory and speed of a training step at lengths that people ask about, and at the run's own.

Memory is imagined (see `estimate`); time is measured here and now, where the step fits and is over soon enough.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch import LightningModule, seed_everything
from omegaconf import DictConfig

from manyheads import build
from manyheads.data.base import DataSpec
from manyheads.data.batch import Batch
from manyheads.data.series.batch import SeriesBatch
from manyheads.doctor.checks import Findings
from manyheads.doctor.timed import timed
from manyheads.errors import UserError
from manyheads.estimate import estimate
from manyheads.estimate.batches import extent, resized
from manyheads.estimate.machine import machine
from manyheads.estimate.show import size
from manyheads.estimate.step import Imagination, Peak

SECTION = "speed"
LENGTHS = (512, 1024, 2048)

ROOM = 0.8
"""Of the free memory: what would take more is not tried, since a machine that swaps tells nothing."""

PATIENCE = 3.0
"""Seconds of a step beyond which it is not measured: four lengths take a few steps each, within a minute."""

STEPS = 3
"""Of each length; the first is not counted."""

WHOLE, LAST = 30.0, 90.0
"""Seconds after which further lengths are estimated alone, and after which not even that: kernels of many small
operations take ten seconds to be imagined, and a busy machine is to be told of within minutes, too.
"""


def by_length(data: LightningDataModule, cfg: DictConfig, found: Findings) -> list[dict[str, Any]]:
    """A row for each length: memory, tokens a second, and why there are none where there are none."""
    batch = next(iter(data.train_dataloader()))
    own = configured(cfg, data.spec, batch)
    unit = "steps" if isinstance(batch, SeriesBatch) else "tokens"
    rows, begun = [], time.perf_counter()
    for length in sorted({*LENGTHS, own}):
        spent = time.perf_counter() - begun
        known = _at(batch, cfg, data.spec, length, spent < WHOLE) if spent < LAST else {"why": "the others took long"}
        row = {"length": length, "configured": length == own, **known}
        rows.append(row)
        name = f"{length:,} {unit}" + (" (yours)" if length == own else "")
        found.add(SECTION, name, *_told(row), **row)
    return rows


def configured(cfg: DictConfig, spec: DataSpec, batch: Batch) -> int:
    """The longest row that the data makes; of series, the history."""
    return batch.history.size(1) if isinstance(batch, SeriesBatch) else spec.longest


def _at(batch: Batch, cfg: DictConfig, spec: DataSpec, length: int, tries: bool) -> dict[str, Any]:
    """tries: whether there is time to measure."""
    device, precision = estimate.device_of(cfg), str(cfg.trainer.precision)
    try:
        given, spec = sized(batch, cfg, spec, length)
        if given is None:
            return {"why": "nobody knows how to make rows of this length"}
        peak = Imagination(lambda: _task(cfg, spec), device, precision).training(given)
        row = _imagined(given, peak, cfg, device, PATIENCE if tries else 0.0)
        if "why" in row:
            return row
        seconds, rate = timed(_task(cfg, spec), cfg, [given] * STEPS)
    except (UserError, NotImplementedError) as problem:
        return {"why": str(problem).partition(":")[0].rstrip(".")}
    return row | {"seconds": seconds, "tokens_per_second": rate}


def _imagined(given: Batch, peak: Peak, cfg: DictConfig, device: torch.device, patience: float) -> dict[str, Any]:
    """What a step takes, and why it is not measured, if so."""
    speed, free = machine(device, str(cfg.trainer.precision)), estimate.memory(device)
    seconds = peak.work.seconds(speed.flops, speed.moved, speed.call)
    row = {"rows": extent(given)[0], "memory": peak.held, "estimated_seconds": seconds}
    if peak.held > ROOM * free:
        return row | {"why": f"it would need {size(peak.held)} of the {size(free)} that are free"}
    if seconds > patience:
        rate = given.tokens / seconds
        return row | {"why": f"it would take too long; the estimate is {rate:,.0f} tokens a second, {size(peak.held)}"}
    return row


def sized(batch: Batch, cfg: DictConfig, spec: DataSpec, length: int) -> tuple[Batch | None, DataSpec]:
    """As many rows of this length as a batch of the run may hold, and the facts that go with them."""
    if isinstance(batch, SeriesBatch):
        return _longer(batch, length), replace(
            spec, history=length, longest=-(-(length + spec.horizon) // spec.stride) + 1
        )
    one = resized(batch, 1, length)
    if one is None:
        return None, spec
    rows = max(1, int(cfg.data.get("batch_tokens", one.cells)) // one.cells)
    return resized(batch, rows, length), replace(spec, longest=max(spec.longest, length))


def _longer(batch: SeriesBatch, length: int) -> SeriesBatch:
    """Windows whose history repeats until it is so long; fewer of them, so that as many values are read."""
    now = batch.history.size(1)
    rows = max(1, min(len(batch), len(batch) * now // length))
    places = torch.arange(length) % now
    parts = {name: getattr(batch, name)[:rows][:, places] for name in ("history", "history_seen", "history_known")}
    rest = {name: getattr(batch, name)[:rows] for name in ("index", "future", "future_seen", "future_known", "series")}
    return SeriesBatch(tokens=parts["history"].numel(), **parts, **rest)


def _task(cfg: DictConfig, spec: DataSpec) -> LightningModule:
    seed_everything(cfg.seed, workers=True, verbose=False)
    return build.task(cfg, build.model(cfg, spec), spec)


def _told(row: dict[str, Any]) -> tuple[str, str]:
    """Light and sentence. Of the run's own length, memory and time have checks of their own."""
    if "tokens_per_second" in row:
        memory, rate = size(row["memory"]), row["tokens_per_second"]
        return "green", f"{rate:,.0f} tokens a second, {memory}, in batches of {row['rows']:,} rows."
    return "yellow", f"Not measured: {row['why']}."
