"""Costs in seconds: sublayers run again on what they were really given, with all of their units and with half of them.

Of a pre-norm sublayer all is timed that goes with it, its norm and the sum with what it was given; of a post-norm one,
whose norm stays, the part alone. Sublayers of the same kind that are given the same sizes are measured once.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.attention.race import aside, clock
from manyheads.pruning.cost_line import NOTHING, Line, half, still, through
from manyheads.pruning.keep import keep
from manyheads.pruning.sites import Site, sites

WARM_UP, ROUNDS = 3, 15
"""Runs of each before any counts, and runs of which the median counts: whole and half in turn."""

Work = Callable[[], Any]
Taken = Callable[[Work, torch.device], float]
"""Seconds of one run."""


def taken(work: Work, device: torch.device) -> float:
    begun = clock()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return clock() - begun


def latency_lines(
    model: nn.Module, run: Callable[[], Any], heads: str, measures: bool, taken: Taken = taken
) -> dict[str, Line]:
    """Of every site, over all passes of `run`; nothing in a process that does not measure."""
    found, calls = sites(model), _Calls()
    with still(model):
        with ExitStack() as watching:
            for site in found:
                hook = site.residual.register_forward_pre_hook(partial(calls.note, site), with_kwargs=True)
                watching.callback(hook.remove)
            run()
        if not measures:
            return {}
        lines = {kind: call.line(heads, taken) for kind, call in calls.kinds.items()}
    total = dict.fromkeys((site.name for site in found), NOTHING)
    for (name, kind), times in calls.times.items():
        total[name] += lines[kind] * times
    return total


@dataclass(frozen=True)
class _Call:
    """A sublayer, and what it was given. autocast: the type that products were computed in, if another one."""

    site: Site
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    autocast: torch.dtype | None

    @property
    def kind(self) -> Hashable:
        residual = self.site.residual
        given = [*self.args, *self.kwargs.values()]
        return (repr(residual), residual.pre_norm, self.autocast, *map(_size, given))

    @property
    def device(self) -> torch.device:
        return next(self.site.part.parameters()).device

    def line(self, heads: str, taken: Taken) -> Line:
        units, fewer = self.site.part.units, half(self.site, heads)
        works = [self._work(kept) for kept in (list(range(units)), fewer) if kept]
        cast = torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)
        with aside(self.device), cast:
            times = medians(works, partial(taken, device=self.device))
        return through(units, times[0], len(fewer), times[-1])

    def _work(self, kept: list[int]) -> Work:
        residual = deepcopy(self.site.residual)
        residual.gate.z = residual.inner.unit_gate.z = None
        keep(residual, kept)
        return partial(residual if residual.pre_norm else residual.inner, *self.args, **self.kwargs)


class _Calls:
    """kinds: one call of each kind. times: how often a site was called so."""

    def __init__(self) -> None:
        self.kinds: dict[Hashable, _Call] = {}
        self.times: Counter[tuple[str, Hashable]] = Counter()

    def note(self, site: Site, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        device = args[0].device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        call = _Call(site, args, kwargs, cast)
        kind = call.kind
        self.kinds.setdefault(kind, call)
        self.times[site.name, kind] += 1


def medians(works: list[Work], taken: Callable[[Work], float]) -> list[float]:
    """Seconds of each, run in turn, so that what slows the machine for a while slows them all."""
    for _ in range(WARM_UP):
        for work in works:
            work()
    rounds = [[taken(work) for work in works] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _size(given: Any) -> Hashable:
    """All of an argument that its time may depend on: of tensors the shape, of masks what they restrict."""
    if isinstance(given, Tensor):
        return given.shape, given.dtype
    if isinstance(given, Mask):
        return tuple(_size(getattr(given, field.name)) for field in fields(given) if field.init)
    # An object that a kept call holds is no other one's; sublayers of a stack are given the same.
    return given if isinstance(given, Hashable) else id(given)
