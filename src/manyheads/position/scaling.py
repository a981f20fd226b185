"""Rotary positions for inputs s times longer than those trained on: five answers, with the same weights.

| scaling | rate of a pair | source |
|---|---|---|
| none | base^(−2i/d) | Su et al. 2021 |
| linear | the same, divided by s: positions closer together | Chen et al. 2023, eq. 4 |
| ntk | with base · s^(d/(d−2)): the slowest pair is divided by s, the fastest left alone | bloc97 2023 |
| dynamic | with base · (s·n/N − (s−1))^(d/(d−2)) for n > N, the trained length | emozilla 2023 |
| yarn | pairs that turn often over N as they were, slow ones divided by s, a ramp between | Peng et al. 2023, sec. 3 |

yarn also makes cosines and sines 0.1 · ln s + 1 times as large, so that more keys leave no flatter weights. Its ramp is
linear in the number of the pair, from ⌊fast⌋ to ⌈slow⌉, as in the authors' code.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.errors import UserError

KNOWING = ("dynamic", "yarn")
"""Those that have to know the trained length."""


@dataclass(frozen=True)
class Scaling:
    """factor: s. original: N, tokens of the longest training input. fast, slow: turns over N where yarn's ramp ends."""

    kind: Literal["none", "linear", "ntk", "dynamic", "yarn"]
    factor: float
    original: int | None
    fast: float
    slow: float

    def check(self, head_dim: int) -> None:
        """Raises UserError where the settings contradict each other."""
        for wrong, what in (
            (
                self.kind == "none" and self.factor != 1,
                f"position.factor={self.factor} needs position.scaling=linear or position.scaling=ntk, dynamic or yarn",
            ),
            (not 1 <= self.factor < math.inf, f"position.factor={self.factor} makes inputs no longer: give 1 or more"),
            (
                self.kind in KNOWING and (self.original is None or self.original < 1),
                f"position.scaling={self.kind} has to know how long the inputs of the training were: set "
                "position.original to so many tokens",
            ),
            (
                self.kind in ("ntk", "dynamic") and head_dim < 4,
                f"position.scaling={self.kind} needs two pairs or more, a head size of 4, not {head_dim}",
            ),
            (
                not 0 < self.slow < self.fast,
                f"position.fast={self.fast} must be more turns than position.slow={self.slow}, and both more than 0",
            ),
        ):
            if wrong:
                raise UserError(f"{what}.")

    @property
    def temperature(self) -> float:
        """What yarn multiplies cosines and sines by."""
        return 0.1 * math.log(self.factor) + 1

    def rates(self, head_dim: int, base: float, length: int = 0) -> Float[Tensor, "d/2"]:
        """Radians per position of each pair; length: of the whole input, which matters to dynamic alone."""
        if self.kind == "ntk":
            base = stretched(head_dim, base, self.factor)
        elif self.kind == "dynamic" and length > self.original:
            base = stretched(head_dim, base, self.factor * length / self.original - (self.factor - 1))
        found = plain(head_dim, base)
        if self.kind == "yarn":
            kept = self._kept(head_dim, base)
            return found * kept + found / self.factor * (1 - kept)
        return found / (self.factor if self.kind == "linear" else 1.0)

    def _kept(self, head_dim: int, base: float) -> Float[Tensor, "d/2"]:
        """1 where a pair turns as it did, 0 where it is slowed down."""
        low = max(0, math.floor(self._pair(self.fast, head_dim, base)))
        high = min(head_dim - 1, math.ceil(self._pair(self.slow, head_dim, base)))
        ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - low) / max(high - low, 1e-3)
        return 1 - ramp.clamp(0, 1)

    def _pair(self, turns: float, head_dim: int, base: float) -> float:
        """The number of the pair that turns so often over the trained length."""
        return head_dim * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(base))


def plain(head_dim: int, base: float) -> Float[Tensor, "d/2"]:
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def stretched(head_dim: int, base: float, factor: float) -> float:
    """The base with which the slowest pair turns `factor` times slower."""
    return base * factor ** (head_dim / (head_dim - 2))
