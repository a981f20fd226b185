"""Contestants in one process, in turns: what disturbs one disturbs all, so ratios within a round hold."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from manyheads.measure.attention import contestants
from manyheads.measure.attention.case import Case, Settings, shape_of
from manyheads.measure.attention.clock import Clock, Taken, median, percentile
from manyheads.measure.attention.error import SEED
from manyheads.measure.attention.outcome import told
from manyheads.measure.attention.steps import step_of

LEAST = 3
"""Rounds that are always played."""


def duel(cases: list[Case], settings: Settings, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each: median seconds, and per token the ratio to the first within each round.

    Ratios say how many times the first one's time per token: above 1, the first is faster.
    """
    clock = Clock(torch.device(settings.device))
    steps, rows = {}, []
    for case in cases:
        try:
            steps[case] = _ready(case, settings)
        except Exception as error:
            rows.append(told(case.key, error))
    if cases[0] not in steps:
        reason = f"{cases[0].contestant}, the first of this duel, cannot run."
        return rows + [{"key": case.key, "status": "skipped", "reason": reason} for case in steps]
    return rows + _rows(_played(steps, clock, rounds, seconds), settings)


def _ready(case: Case, settings: Settings) -> Callable[[], None]:
    torch.manual_seed(SEED)
    shape = shape_of(case, settings)
    built = contestants.build(case.contestant, shape)
    step, state = step_of(built, shape.gradients), built.prepare()
    step(state)
    return lambda: step(state)


def _played(
    steps: dict[Case, Callable[[], None]], clock: Clock, rounds: int, seconds: float
) -> list[dict[Case, Taken]]:
    """One call of each per round, the order turned on by one each time."""
    order, begun, played = list(steps), time.perf_counter(), []
    while len(played) < rounds and (len(played) < LEAST or time.perf_counter() - begun < seconds):
        played.append({case: clock(steps[case]) for case in order})
        order = order[1:] + order[:1]
    return played


def _rows(played: list[dict[Case, Taken]], settings: Settings) -> list[dict[str, Any]]:
    first = next(iter(played[0]))
    rows = []
    for case in played[0]:
        share = first.length / case.length
        taken = median([one[case] for one in played])
        rows.append(
            {
                "key": case.key,
                "status": "done",
                **asdict(case),
                "against": first.key,
                "rounds": len(played),
                "wall": taken.wall,
                "cpu": taken.cpu,
                "ratio_wall": _spread([one[case].wall / one[first].wall * share for one in played]),
                "ratio_cpu": _spread([one[case].cpu / one[first].cpu * share for one in played]),
            }
        )
    return rows


def _spread(ratios: list[float]) -> list[float]:
    """Median, 10th and 90th percentile."""
    return [percentile(ratios, 0.5), percentile(ratios, 0.1), percentile(ratios, 0.9)]
