"""Memory of the largest batch, and the time of the whole run by a few of its steps."""

from itertools import islice

from lightning import LightningDataModule
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from manyheads.doctor.checks import Findings
from manyheads.doctor.timed import timed
from manyheads.estimate.estimate import Estimate, Estimator, device_of
from manyheads.estimate.show import refusal, size
from manyheads.training.lines import duration

SECTION = "speed"

ROOM = 0.8
"""Of the free memory: beyond, other programs decide whether the run fits."""

PATIENCE = 5.0
"""Seconds of a step beyond which the estimate has to do."""

STEPS = 6
"""Of the run's own batches; the first is not counted."""


def memory(data: LightningDataModule, cfg: DictConfig, found: Findings) -> Estimate | None:
    """None where nobody can imagine a step."""
    try:
        estimator = Estimator(cfg, data, device_of(cfg))
        foreseen = estimator.estimate()
    except NotImplementedError as problem:
        found.add(SECTION, "memory", "yellow", f"It cannot be foretold: {problem}.")
        return None
    facts = {"needed": foreseen.peak, "free": foreseen.available}
    if foreseen.lacks:
        found.add(SECTION, "memory", "red", refusal(foreseen, estimator.fits(foreseen)), **facts)
    else:
        words = f"The largest batch takes {size(foreseen.peak)} of the {size(foreseen.available)} that are free."
        light = "green" if foreseen.peak < ROOM * foreseen.available else "yellow"
        found.add(SECTION, "memory", light, words, **facts)
    return foreseen


def times(
    data: LightningDataModule, task: LightningModule, cfg: DictConfig, foreseen: Estimate | None, found: Findings
) -> None:
    """Of a step, and of the whole run where the estimate knows its steps."""
    if foreseen is None:
        return
    slow = foreseen.step_seconds > PATIENCE
    seconds = foreseen.step_seconds
    words = f"A batch takes about {seconds:.0f} s by the estimate, too long to be tried."
    if not slow:
        seconds, rate = timed(task, cfg, islice(data.train_dataloader(), STEPS))
        words = f"A batch takes {seconds * 1e3:,.0f} ms: {rate:,.0f} tokens a second."
    found.add(SECTION, "step", "yellow" if slow else "green", words, seconds=seconds, measured=not slow)
    _total(cfg, foreseen, seconds, bool(getattr(task, "search", None)), found)


def _total(cfg: DictConfig, foreseen: Estimate, seconds: float, writes: bool, found: Findings) -> None:
    """Evaluations are as much slower or faster than they were thought to be as training steps are."""
    if foreseen.steps is None:
        found.add(SECTION, "total", "yellow", "Nothing but trainer.max_time or early stopping ends this run.")
        return
    ahead = seconds / foreseen.step_seconds
    evaluated = foreseen.run_seconds - foreseen.steps * foreseen.step_seconds
    whole = ahead * evaluated + foreseen.steps * int(cfg.trainer.accumulate_grad_batches) * seconds
    words = f"The training takes about {duration(whole)} for {foreseen.steps:,} steps, if nothing stops it early."
    words += " Writing texts in evaluations comes on top." if writes else ""
    found.add(SECTION, "total", "green", words, seconds=whole, steps=foreseen.steps)
