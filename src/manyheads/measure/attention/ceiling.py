"""What the machine can do at this moment: a matrix product of the type, and a copy. Sampled between the timed calls."""

import time

import torch

from manyheads.measure.attention.clock import Clock, Taken, best
from manyheads.measure.attention.work import Work

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices: large enough for the full rate, short enough to be repeated."""

COPIED = {"cpu": 64 << 20, "cuda": 1 << 30}
"""Bytes of the source: more than the caches hold."""

EVERY = 0.25
"""Seconds between two samples: machines change under their neighbours' load."""


class Ceiling:
    def __init__(self, dtype: torch.dtype, clock: Clock) -> None:
        kind, self.clock = clock.device.type, clock
        side = SIDE[kind]
        self.flops, self.moved = 2 * side**3, 2 * COPIED[kind]
        self._a, self._b, self._c = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(3))
        self._from = torch.ones(COPIED[kind], dtype=torch.int8, device=clock.device)
        self._to = torch.ones_like(self._from)
        self._products: list[Taken] = []
        self._copies: list[Taken] = []
        self._last = 0.0
        self.sample()
        self._products, self._copies = [], []

    def sample(self) -> None:
        self._products.append(self.clock(lambda: torch.mm(self._a, self._b, out=self._c)))
        self._copies.append(self.clock(lambda: self._to.copy_(self._from)))
        self._last = time.perf_counter()

    def sample_now_and_then(self) -> None:
        if time.perf_counter() - self._last > EVERY:
            self.sample()

    def rates(self) -> dict[str, float]:
        """FLOP/s and bytes/s, by the wall and by the processor's clock. The best samples: a ceiling is a bound."""
        product, copy = best(self._products), best(self._copies)
        return {
            "flops_wall": self.flops / product.wall,
            "flops_cpu": self.flops / product.cpu,
            "bytes_wall": self.moved / copy.wall,
            "bytes_cpu": self.moved / copy.cpu,
        }


def fraction(work: Work | None, taken: Taken, rates: dict[str, float]) -> float | None:
    """The least time that the work could take, arithmetic or bytes, whichever is longer, over the time it took.

    By the processor's clock: on a shared machine the wall measures the neighbours. None where nobody counted the work.
    """
    if work is None or work.flops is None:
        return None
    return max(work.flops / rates["flops_cpu"], work.bytes / rates["bytes_cpu"]) / taken.cpu
