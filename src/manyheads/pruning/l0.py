"""Differentiable pruning: gates are drawn from hard concrete distributions, whose α are learned with the weights.

The loss is L + λ₁ (t − s) + λ₂ (t − s)², s the share of the costs that is gone and t the schedule's: minimal over
weights and α, maximal over λ (Wang, Wohlwend and Lei 2020, eq. 5; CoFi, Xia, Zhong and Chen 2022, eq. 5). Gates are
nested: a unit counts as there if its sublayer is. s is what is expected to be gone; in the end, units are closed by
their α until the share itself is.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from manyheads.pruning.choose import Worth, choose
from manyheads.pruning.gates import Gates, opened
from manyheads.pruning.hard_concrete import BOUND, likely_open, sample, settled
from manyheads.pruning.method import Ground, Method
from manyheads.pruning.sites import Site


class L0(Method):
    """alpha: of all gates before training, with noise of 0.01. lr: of α, by Adam. multiplier_lr: of λ₁ and λ₂."""

    together = True

    def __init__(self, alpha: float, lr: float, multiplier_lr: float) -> None:
        self.alpha, self.lr, self.multiplier_lr = alpha, lr, multiplier_lr

    def start(self, ground: Ground) -> None:
        self.ground, self.begun = ground, False
        sizes = {site.name: self._slots(site) for site in ground.free}
        if ground.rules.layers:
            sizes |= {_whole(site.name): 1 for site in ground.sites}
        self.alphas = {key: self._first(key, size) for key, size in sizes.items()}
        self.multipliers = torch.zeros(2, device=ground.device, requires_grad=True)
        self.by_alpha = torch.optim.Adam(self.alphas.values(), lr=self.lr)
        self.by_multiplier = torch.optim.Adam([self.multipliers], lr=self.multiplier_lr, maximize=True)

    def training(self, step: int, share: float) -> Gates:
        if not share and not self.begun:
            return opened(self.ground.sites)
        self.begun = True
        self._noise = {key: self._draw(f"{step} {key}", len(alpha)) for key, alpha in self.alphas.items()}
        with torch.no_grad():
            return self._gates({key: sample(alpha, self._noise[key]) for key, alpha in self.alphas.items()})

    def evaluating(self) -> Gates:
        with torch.no_grad():
            closed = {key: settled(alpha) for key, alpha in self.alphas.items()}
        return self._gates(closed) if self.begun else opened(self.ground.sites)

    def observe(self, gates: Gates, grads: Gates, share: float) -> dict[str, float]:
        if not self.begun:
            return {}
        self.by_alpha.zero_grad()
        self.by_multiplier.zero_grad()
        drawn = self._gates({key: sample(alpha, self._noise[key]) for key, alpha in self.alphas.items()})
        by_task = sum((drawn.units[name] * grad).sum() for name, grad in grads.units.items())
        by_task = by_task + sum(drawn.layers[name] * grad for name, grad in grads.layers.items())
        expected = self.expected()
        gap = share - expected
        (by_task + self.multipliers[0] * gap + self.multipliers[1] * gap.square()).backward()
        self.by_alpha.step()
        self.by_multiplier.step()
        with torch.no_grad():
            for alpha in self.alphas.values():
                alpha.clamp_(-BOUND, BOUND)
        first, second = self.multipliers.tolist()
        return {"expected": float(expected.detach()), "multiplier_1": first, "multiplier_2": second}

    def settle(self, share: float) -> Gates:
        """Units of least α go, until the share is reached; those kept stay as open as they are without noise.

        Where the multipliers have closed more than that, all α are raised by as much as opens what is to stay.
        """
        ground, soft = self.ground, self.evaluating()
        alphas = {site.name: torch.full((site.part.units,), BOUND + 1) for site in ground.sites}
        alphas |= {site.name: self._spread(site, self.alphas[site.name]).detach().cpu() for site in ground.free}
        # α says how open a gate is, not how much it is worth for its cost: costs are in the Lagrangian already.
        worth = {name: (alpha.double() + BOUND) * ground.costs.unit[name] for name, alpha in alphas.items()}
        closed = frozenset(name for name, z in soft.layers.items() if z == 0)
        hard = choose(ground.sites, Worth(worth, {}), ground.costs, share, ground.rules, closed)
        left = [alphas[site.name][hard.units[site.name] != 0] for site in ground.free if site.name not in closed]
        least = torch.cat(left).min() if any(len(part) for part in left) else torch.zeros(())
        raised = 0.0 if settled(least) > 0 else -float(least)
        units = {name: hard.units[name] * settled(alpha + raised) for name, alpha in alphas.items()}
        units |= {s.name: torch.ones(s.part.units) for s in ground.sites if s not in ground.free}
        return Gates(units, {name: z.cpu() for name, z in soft.layers.items()})

    def expected(self) -> Tensor:
        """The expected share of the costs that is gone, differentiable by α."""
        costs, kept = self.ground.costs, 0.0
        for site in self.ground.sites:
            alpha, size = self.alphas.get(site.name), site.part.units
            open_ = size if alpha is None else likely_open(self._spread(site, alpha)).sum()
            whole = self.alphas.get(_whole(site.name))
            there = 1.0 if whole is None else likely_open(whole).squeeze(0)
            kept = kept + there * (costs.whole[site.name] + costs.unit[site.name] * open_)
        return 1 - kept / costs.total

    def state_dict(self) -> dict[str, Any]:
        alphas = {key: alpha.detach().cpu() for key, alpha in self.alphas.items()}
        adam = {"by_alpha": self.by_alpha.state_dict(), "by_multiplier": self.by_multiplier.state_dict()}
        return {"alphas": alphas, "multipliers": self.multipliers.detach().cpu(), "begun": self.begun, **adam}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for key, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][key])
            self.multipliers.copy_(state["multipliers"])
        self.by_alpha.load_state_dict(state["by_alpha"])
        self.by_multiplier.load_state_dict(state["by_multiplier"])
        self.begun = state["begun"]

    def _gates(self, z: dict[str, Tensor]) -> Gates:
        """From one number for each slot to one for each unit."""
        units = {site.name: torch.ones(site.part.units, device=self.ground.device) for site in self.ground.sites}
        units |= {site.name: self._spread(site, z[site.name]) for site in self.ground.free}
        layered = [site for site in self.ground.sites if _whole(site.name) in z]
        return Gates(units, {site.name: z[_whole(site.name)].squeeze(0) for site in layered})

    def _slots(self, site: Site) -> int:
        return site.part.units // self._each(site)

    def _each(self, site: Site) -> int:
        return site.per_group if self.ground.rules.heads == "groups" else 1

    def _spread(self, site: Site, x: Tensor) -> Tensor:
        return x.repeat_interleave(self._each(site))

    def _first(self, key: str, size: int) -> Tensor:
        noise = torch.randn(size, generator=self._generator(f"start {key}")) * 0.01
        return (self.alpha + noise).to(self.ground.device).requires_grad_()

    def _draw(self, what: str, size: int) -> Tensor:
        # On the CPU, by name: the same on every device, in every process, and after a restart.
        return torch.rand(size, generator=self._generator(what)).to(self.ground.device)

    def _generator(self, what: str) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.ground.seed} {what}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _whole(name: str) -> str:
    return f"layer {name}"
