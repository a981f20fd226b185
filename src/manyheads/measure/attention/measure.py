"""The figures of one case: time, extra memory, the share of the machine's ceiling; or the error."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from manyheads.measure.attention import contestants, memory
from manyheads.measure.attention.case import Case, Settings, Shape, shape_of
from manyheads.measure.attention.ceiling import Ceiling, fraction
from manyheads.measure.attention.clock import Clock, Taken, median
from manyheads.measure.attention.error import SEED, error
from manyheads.measure.attention.steps import step_of

ENOUGH = 0.5
"""Seconds of timed calls after which their median stands, once there are LEAST of them."""
LEAST, MOST = 3, 25
LONG = 3.0
"""Seconds; a call that takes longer is timed once, in the pass that also measures its memory."""


def refusal(case: Case, settings: Settings) -> str | None:
    return contestants.why_not(case.contestant, _shape(case, settings))


def _shape(case: Case, settings: Settings) -> Shape:
    """The error of what has no backward is taken forward alone."""
    shape = shape_of(case, settings)
    forward_only = case.what == "error" and contestants.why_not(case.contestant, shape) is not None
    return replace(shape, gradients=False) if forward_only else shape


def measured(case: Case, settings: Settings) -> dict[str, Any]:
    """A row of results.jsonl. Raises Cannot, UserError, or whatever a contestant raises."""
    torch.manual_seed(SEED)
    shape = _shape(case, settings)
    found = error(case.contestant, shape) if case.what == "error" else _timed(case.contestant, shape)
    return {"key": case.key, "status": "done", **asdict(case), **found}


def _timed(name: str, shape: Shape) -> dict[str, Any]:
    begun = time.perf_counter()
    built, clock = contestants.build(name, shape), Clock(shape.device)
    step = step_of(built, shape.gradients)
    # The first call compiles, fills the allocator and draws the gradient that all later calls start from.
    step(built.prepare())
    first = time.perf_counter() - begun
    once: list[Taken] = []

    def fresh() -> None:
        state = built.prepare()
        once.append(clock(lambda: step(state)))

    extra = memory.extra(fresh, shape.device)
    ceiling = Ceiling(shape.dtype, clock)
    state = built.prepare()
    samples = once if once[0].wall > LONG else _samples(lambda: step(state), clock, ceiling)
    ceiling.sample()
    taken, rates = median(samples), ceiling.rates()
    work = built.work
    return {
        "wall": taken.wall,
        "cpu": taken.cpu,
        "repeats": len(samples),
        "first": first,
        "extra_mib": extra,
        "flops": work and work.flops,
        "bytes": work and work.bytes,
        "ceiling": rates,
        "fraction": fraction(work, taken, rates),
    }


def _samples(call: Callable[[], None], clock: Clock, ceiling: Ceiling) -> list[Taken]:
    found: list[Taken] = []
    while len(found) < LEAST or (sum(one.wall for one in found) < ENOUGH and len(found) < MOST):
        ceiling.sample_now_and_then()
        found.append(clock(call))
    return found
