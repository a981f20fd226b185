"""What a call takes. CPU: seconds of the wall and of the processor. GPU: seconds between two events, caches flushed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

FLUSH = 256 << 20
"""Bytes written before each timed call on a GPU: more than any second-level cache holds."""


@dataclass(frozen=True)
class Taken:
    """Seconds. On a GPU both are the device's."""

    wall: float
    cpu: float


class Clock:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self._flush = torch.empty(FLUSH, dtype=torch.int8, device=device) if self.cuda else None

    def __call__(self, call: Callable[[], object]) -> Taken:
        return self._on_device(call) if self.cuda else self._here(call)

    def _here(self, call: Callable[[], object]) -> Taken:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return Taken(time.perf_counter() - wall, time.process_time() - cpu)

    def _on_device(self, call: Callable[[], object]) -> Taken:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # The flush also keeps the device busy while the host prepares the launch, which is not to be measured.
        self._flush.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        seconds = begin.elapsed_time(end) / 1000
        return Taken(seconds, seconds)


def median(samples: list[Taken]) -> Taken:
    return Taken(statistics.median(s.wall for s in samples), statistics.median(s.cpu for s in samples))


def best(samples: list[Taken]) -> Taken:
    return Taken(min(s.wall for s in samples), min(s.cpu for s in samples))


def percentile(values: list[float], share: float) -> float:
    """With the nearest rank."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]
