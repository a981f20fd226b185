"""Pruning by scores: every few steps, the units of least worth are closed, until the schedule's share is gone.

| score of a unit | is | source |
|---|---|---|
| magnitude | the length of all its weights | Han et al. 2015 |
| taylor | mean ∣∂L/∂z∣, z its gate: the loss without it, to first order | Molchanov et al. 2019, eq. 8 |
| movement | −Σ ∂L/∂z: how far training moves it away from zero | Sanh et al. 2020, eq. 4, one score for a unit |
| random | a random number: the control | |

Under all but movement, what is closed stays closed.
"""

import hashlib
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from manyheads.errors import UserError
from manyheads.model.layers import MultiHead, Part
from manyheads.pruning.choose import Worth, choose
from manyheads.pruning.gates import Gates, opened
from manyheads.pruning.method import Ground, Method
from manyheads.pruning.schedule import Schedule
from manyheads.pruning.sites import Site


class Scores(Method):
    """normalise: whether the scores of a sublayer are divided by their length, so that sublayers compete as equals."""

    together = False
    reopens = False

    def __init__(self, normalise: bool) -> None:
        self.normalise = normalise

    def start(self, ground: Ground) -> None:
        self.ground, self.now, self.asked = ground, opened(ground.sites), 0.0
        self.sums = {key: torch.zeros_like(z, device=ground.device) for key, z in _flat(self._all_open()).items()}

    def training(self, step: int, share: float) -> Gates:
        # Layers have gates as soon as any may go, so that their gradient is known.
        self._close(share)
        layers = {site.name: self.now.layers.get(site.name, torch.ones(())) for site in self._layered()}
        return Gates(self.now.units, layers)

    def evaluating(self) -> Gates:
        return self.now

    def observe(self, gates: Gates, grads: Gates, share: float) -> dict[str, float]:
        z = _flat(gates)
        for key, grad in _flat(grads).items():
            self.sums[key] = self.gather(self.sums[key], z[key].to(grad), grad)
        return {}

    def refuse_uninformed(self, schedule: Schedule, total: int) -> None:
        learns = type(self).gather is not Scores.gather
        if learns and (schedule.progress(0, total) > 0 or schedule.settles(total) < 1):
            raise UserError(
                f"{type(self).__name__} scores units by gradients, and of {total} steps it would choose before the "
                "first: set pruning.schedule.warmup higher, or train longer."
            )

    def settle(self, share: float) -> Gates:
        self._close(share)
        return self.now

    def state_dict(self) -> dict[str, Any]:
        sums = {key: value.cpu() for key, value in self.sums.items()}
        return {"sums": sums, "now": self.now.content(), "asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums = {key: value.to(self.ground.device) for key, value in state["sums"].items()}
        self.now, self.asked = Gates(**state["now"]), state["asked"]

    def gather(self, total: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """What is remembered of all gradients so far."""
        return total

    @abstractmethod
    def worth(self, key: str, site: Site) -> Tensor:
        """Of the units (units,) of a site, or, where `key` says so, of the sublayer ()."""

    def _close(self, share: float) -> None:
        if share <= self.asked and not (self.reopens and share):
            return
        self.asked = share
        units, layers = {}, {}
        for site in self.ground.sites:
            own = self.worth(site.name, site).detach().double().cpu()
            own = own / own.norm().clamp(min=1e-30) if self.normalise else own
            shut = (self.now.units[site.name] == 0) & (not self.reopens)
            units[site.name] = own.masked_fill(shut, -torch.inf)
        for site in self._layered():
            gone = site.name in self.now.layers and not self.reopens
            layers[site.name] = torch.tensor(-torch.inf) if gone else self.worth(_whole(site.name), site).detach().cpu()
        ground = self.ground
        self.now = choose(ground.sites, Worth(units, layers), ground.costs, share, ground.rules)

    def _layered(self) -> list[Site]:
        return self.ground.sites if self.ground.rules.layers else []

    def _all_open(self) -> Gates:
        return Gates(opened(self.ground.sites).units, {site.name: torch.ones(()) for site in self._layered()})


class Magnitude(Scores):
    """The length of a unit's weights, in all projections that are its own; a sublayer's: their root mean square."""

    def worth(self, key: str, site: Site) -> Tensor:
        if key == site.name:
            return _squares(site.part).sqrt()
        weights = torch.cat([p.detach().double().flatten() for p in site.part.parameters() if p.ndim > 1])
        return weights.square().mean().sqrt()


class Taylor(Scores):
    """memory: the weight of what was gathered before, against 1 of the newest batch; 1: all batches count the same."""

    def __init__(self, normalise: bool, memory: float) -> None:
        super().__init__(normalise)
        self.memory = memory

    def gather(self, total: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        return self.memory * total + (z * grad).abs()

    def worth(self, key: str, site: Site) -> Tensor:
        return self.sums[key]


class Movement(Scores):
    """Units that training is making larger are worth most, whatever their size; closed ones may come back."""

    reopens = True

    def gather(self, total: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        return total - grad

    def worth(self, key: str, site: Site) -> Tensor:
        return self.sums[key]


class Random(Scores):
    """Decided by the seed and a sublayer's name alone."""

    def worth(self, key: str, site: Site) -> Tensor:
        digest = hashlib.blake2b(f"{self.ground.seed} {key}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
        return torch.rand(() if key != site.name else (site.part.units,), generator=generator, dtype=torch.float64)


def _squares(part: Part) -> Tensor:
    """Sums of the squared weights of each unit (units,). What query heads share counts for each of them."""
    last = _lengths(part.last.weight.t().reshape(part.units, -1))
    if not isinstance(part, MultiHead):
        return last + sum(_lengths(part.get_submodule(name).weight) for name in part.makes)
    groups = part.attention.kv_heads
    shared = _lengths(part.kv.weight.unflatten(0, (2, groups, -1)).transpose(0, 1))
    return (
        last + _lengths(part.q.weight.unflatten(0, (part.units, -1))) + shared.repeat_interleave(part.units // groups)
    )


def _lengths(x: Tensor) -> Tensor:
    return x.detach().double().square().flatten(1).sum(1)


def _whole(name: str) -> str:
    return f"layer {name}"


def _flat(gates: Gates) -> dict[str, Tensor]:
    return {**gates.units, **{_whole(name): z for name, z in gates.layers.items()}}
