"""Costs in operations of a forward pass, on what really passes through: padded cells of a projection count.

| part | with k of n units |
|---|---|
| projections | 2 · tokens · in · out |
| attention's own work | as `attention.work` counts it; a rule that nobody has counted: as torch does |
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from manyheads.attention.base import Attention
from manyheads.attention.work import flops
from manyheads.model.layers import MultiHead
from manyheads.pruning.cost_line import NOTHING, Line, half, kv_stays, still, through
from manyheads.pruning.keep import groups
from manyheads.pruning.sites import Site, sites
from manyheads.training.flops import Counter


def flop_lines(model: nn.Module, run: Callable[[], Any], heads: str) -> dict[str, Line]:
    """Of every site, over all passes of `run`."""
    tallies = {site.name: _Tally(site, heads) for site in sites(model)}
    with still(model), ExitStack() as counting:
        for tally in tallies.values():
            counting.enter_context(tally.counting())
        run()
    return {name: tally.line for name, tally in tallies.items()}


def model_flops(model: nn.Module, run: Callable[[], Any]) -> float:
    """All that `run` computes in forward passes of `model`, which is in evaluation meanwhile."""
    counter = Counter(model)
    with still(model), _frozen(model), counter.counting():
        run()
    return counter.total


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Torch's counter (2.13) breaks at a module that gives a view of a weight without gradients, as `Constant` does."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


class _Tally:
    """Of one sublayer: `line` is what it has done so far."""

    def __init__(self, site: Site, heads: str) -> None:
        self.part, self.line, self._kv_stays = site.part, NOTHING, kv_stays(site, heads)
        self._fewer = half(site, heads) if self._kv_stays else []

    @contextmanager
    def counting(self) -> Iterator[None]:
        part = self.part
        stays = {name: name == "kv" and self._kv_stays for name in part.makes}
        projections = [(part.get_submodule(name), stays[name]) for name in part.makes] + [(part.last, False)]
        with ExitStack() as hooks:
            for module, fixed in projections:
                hooks.callback(module.register_forward_hook(partial(self._project, fixed)).remove)
            if isinstance(part, MultiHead):
                hooks.enter_context(self._reading(part.attention))
            yield

    def _project(self, fixed: bool, module: nn.Linear, given: tuple[Tensor], made: Tensor) -> None:
        work = 2.0 * given[0].numel() * module.out_features
        self.line += Line(0.0, work) if fixed else Line(work / self.part.units, 0.0)

    @contextmanager
    def _reading(self, attention: Attention) -> Iterator[None]:
        attend, narrow = attention.attend, self._narrow(attention)

        def counted(q: Tensor, k: Tensor, v: Tensor, mask: Any, bias: Any = None) -> Tensor:
            work = flops(attention, q, k, mask, trained=False)
            if work is None:
                with FlopCounterMode(display=False) as seen:
                    out = attend(q, k, v, mask, bias)
                self.line += through(q.size(1), seen.get_total_flops(), 0, 0.0)
                return out
            less = flops(narrow, q[:, self._fewer], k, mask, trained=False) if self._fewer else 0.0
            self.line += through(q.size(1), work, len(self._fewer), less)
            return attend(q, k, v, mask, bias)

        attention.attend = counted
        try:
            yield
        finally:
            del attention.attend

    def _narrow(self, attention: Attention) -> Attention | None:
        """The same with fewer query heads: what its key-value heads do alone is the rest of the line."""
        if not self._fewer:
            return None
        narrow = deepcopy(attention)
        narrow.keep(tuple(self._fewer), groups(self.part, self._fewer))
        return narrow
