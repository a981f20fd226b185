"""Timing in turns: in every round each side computes once, so what disturbs one disturbs both."""

import time
from collections.abc import Callable
from typing import Any

from manyheads.measure.attention.clock import Clock, Taken, median, percentile

WARM = 2
"""Calls of each before any is timed: buffers are made, kernels chosen."""

LEAST = 5
"""Rounds that are always played, however long they take."""

CLOCKS = ("wall", "cpu")

Round = dict[str, Taken]


def in_turns(calls: dict[str, Callable[[], object]], clock: Clock, rounds: int, seconds: float) -> list[Round]:
    """What each call took in each round; who is first changes from round to round."""
    for _ in range(WARM):
        for call in calls.values():
            call()
    order, begun, played = list(calls), time.perf_counter(), []
    while len(played) < rounds and (len(played) < LEAST or time.perf_counter() - begun < seconds):
        played.append({name: clock(calls[name]) for name in order})
        order = order[1:] + order[:1]
    return played


def compared(played: list[Round], tokens: dict[str, int]) -> dict[str, Any]:
    """Medians of each side, its tokens per second, and how many times as fast per token `pruned` is as `base`.

    The speed-up is that of each round: [median, 10th, 90th percentile]; the processor's time tells of a machine that
    others share.
    """
    found: dict[str, Any] = {"rounds": len(played)}
    for name, number in tokens.items():
        taken = median([one[name] for one in played])
        found[name] = {"wall": taken.wall, "cpu": taken.cpu, "tokens_per_second": number / taken.wall}
    share = tokens["pruned"] / tokens["base"]
    for clock in CLOCKS:
        ratios = [share * getattr(one["base"], clock) / max(getattr(one["pruned"], clock), 1e-9) for one in played]
        found[f"speed_up_{clock}"] = [percentile(ratios, at) for at in (0.5, 0.1, 0.9)]
    return found
