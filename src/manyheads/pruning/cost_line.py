"""What all measures of cost share: a straight line through a sublayer with all of its units and with some of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from manyheads.pruning.sites import Site


@dataclass(frozen=True)
class Line:
    """What k units cost: whole + k · unit."""

    unit: float
    whole: float

    def __add__(self, other: "Line") -> "Line":
        return Line(self.unit + other.unit, self.whole + other.whole)

    def __mul__(self, times: float) -> "Line":
        return Line(self.unit * times, self.whole * times)


NOTHING = Line(0.0, 0.0)


def through(units: int, cost: float, fewer: int, less: float) -> Line:
    """The line through the cost of all `units` and that of `fewer`; where those are none, units share all of it.

    Neither a unit nor what goes beyond them costs less than nothing, and together they always cost `cost`.
    """
    unit = (cost - less) / (units - fewer) if fewer else cost / units
    unit = min(max(unit, 0.0), cost / units)
    return Line(unit, max(cost - units * unit, 0.0))


def kv_stays(site: Site, heads: str) -> bool:
    """Whether key-value heads stay when query heads go: these go `within` their groups, and groups are of several."""
    return heads == "within" and site.per_group > 1


def half(site: Site, heads: str) -> list[int]:
    """Places of half the units, so that they may stay alone; none where all of them go together."""
    units, each = range(site.part.units), site.per_group
    if kv_stays(site, heads):
        return [unit for unit in units if unit % each < each // 2]
    return list(units[: len(units) // each // 2 * each])


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Without dropout or gradients; afterwards each module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
