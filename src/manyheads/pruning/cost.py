"""What can be pruned costs, unit by unit: in weights, in operations, or in measured seconds.

| base | a unit | whole: beyond the units |
|---|---|---|
| parameters | its rows and columns of the projections, with biases | the last bias; the norm of a pre-norm sublayer |
| flops | its share of all products of a forward pass | nothing |
| latency | seconds that a unit more takes | seconds that a sublayer takes without any |

A query head brings its share of its key-value head; where heads go within groups, that is a part of `whole` instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch.distributed as dist
from torch import nn

from manyheads.pruning.cost_flops import flop_lines, model_flops
from manyheads.pruning.cost_latency import latency_lines
from manyheads.pruning.cost_line import Line
from manyheads.pruning.cost_parameters import beyond, weight_line
from manyheads.pruning.sites import Site, sites

__all__ = ["Costs", "model_flops", "unit_costs"]


@dataclass(frozen=True)
class Costs:
    """All by the name of a site. unit: cost of one of its `units`; whole: of its sublayer beyond them.

    bare: what is left of `whole` where no unit is, but a bias that goes on being added; missing sites keep all of it.
    """

    base: str
    unit: dict[str, float]
    whole: dict[str, float]
    units: dict[str, int]
    bare: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return self.of({})

    def of(self, kept: Mapping[str, int | None]) -> float:
        """The cost with so many units of each site; None: its sublayer is gone. Other sites are as they are."""
        return sum(self._site(name, kept.get(name, units)) for name, units in self.units.items())

    def share(self, kept: Mapping[str, int | None]) -> float:
        """Of all costs, how much is gone."""
        total = self.total
        return 1 - self.of(kept) / total if total else 0.0

    def _site(self, name: str, kept: int | None) -> float:
        if kept is None:
            return 0.0
        whole = self.whole[name]
        return whole + kept * self.unit[name] if kept else self.bare.get(name, whole)


def unit_costs(
    model: nn.Module,
    run: Callable[[], Any] | None,
    base: Literal["parameters", "flops", "latency"],
    heads: Literal["groups", "within", "none"],
) -> Costs:
    """run: makes one or more forward passes of real batches; None will do where parameters are counted.

    heads: how heads go (see `choose.Rules`). The model is in evaluation while `run` runs. Several processes get what
    the first one found: their batches and clocks differ, and what is chosen by the costs must not.
    """
    found = sites(model)
    if base == "parameters":
        lines = {site.name: weight_line(site, heads) for site in found}
    else:
        lines = _of_first(_measured(model, run, base, heads))
    unit, whole = ({name: getattr(line, key) for name, line in lines.items()} for key in ("unit", "whole"))
    bare = {site.name: _bare(site, base, whole[site.name]) for site in found}
    return Costs(base, unit, whole, {site.name: site.part.units for site in found}, bare)


def _measured(model: nn.Module, run: Callable[[], Any], base: str, heads: str) -> dict[str, Line]:
    if base == "flops":
        return flop_lines(model, run, heads)
    return latency_lines(model, run, heads, measures=not _several() or dist.get_rank() == 0)


def _bare(site: Site, base: str, whole: float) -> float:
    """Without its units a sublayer is the bias of its last projection, or nothing; a bias is no product."""
    bias = site.part.last.bias
    if bias is None or base == "flops":
        return 0.0
    return whole if base == "latency" else float(beyond(site))


def _of_first(found: Any) -> Any:
    """What rank 0 found, in every process."""
    if not _several():
        return found
    box = [found]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
