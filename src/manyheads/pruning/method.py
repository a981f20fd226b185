"""What a way to prune owes the Pruner: gates for each step, and what it learns from their gradients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from manyheads.pruning.choose import Rules
from manyheads.pruning.cost import Costs
from manyheads.pruning.gates import Gates
from manyheads.pruning.schedule import Schedule
from manyheads.pruning.sites import Site


@dataclass(frozen=True)
class Ground:
    """What is pruned: where, by which rules, at which costs; and on which device it lies."""

    sites: list[Site]
    rules: Rules
    costs: Costs
    seed: int
    device: torch.device

    @property
    def free(self) -> list[Site]:
        """Where units may be closed."""
        return [site for site in self.sites if self.rules.admits(site)]


class Method(ABC):
    """Steps are those of the optimizer. A method draws no number of torch's global generator."""

    together: bool
    """Whether heads and neurons stand in one ranking."""

    def refuse_uninformed(self, schedule: Schedule, total: int) -> None:  # noqa: B027
        """Raises UserError where it would have to choose before it has learnt anything, of `total` steps."""

    @abstractmethod
    def start(self, ground: Ground) -> None:
        """Before the first step; also where a training goes on, before `load_state_dict`."""

    @abstractmethod
    def training(self, step: int, share: float) -> Gates:
        """Gates for the forward passes of a step, when `share` of the costs is asked for."""

    @abstractmethod
    def evaluating(self) -> Gates:
        """Gates for validation."""

    @abstractmethod
    def observe(self, gates: Gates, grads: Gates, share: float) -> dict[str, float]:
        """Takes the gradient of the loss by the gates of a step; returns what is worth a curve."""

    @abstractmethod
    def settle(self, share: float) -> Gates:
        """The gates that stay."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that a training in the middle of its schedule needs to go on to the bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
