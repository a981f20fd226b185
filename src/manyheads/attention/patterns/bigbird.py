"""BigBird: blocks of positions that see their neighbours, some global blocks and some random ones (Zaheer et al. 2020).

Two things differ from the published code on purpose. The random blocks are a function of seed, layer, head, query
block and the row's own length, not of a global random state: equal in training and evaluation, in every process and
after every restart, and whatever padding a row gets. And they are drawn one from each of `random` equal strata of the
blocks that are neither near nor global, so that none is drawn twice.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyheads.attention.patterns.base import Length, Pattern, Span
from manyheads.errors import UserError

FRACTION = 20
"""Bits of a draw within its stratum."""


@dataclass(frozen=True)
class BigBird(Pattern):
    """Blocks of `block` positions; every query of a block sees the same blocks, and wholly.

    window: how many neighbouring blocks are seen on each side, besides the own one.
    globals: so many blocks at the start and as many at the end of the sequence see everything and are seen by all.
    random: how many further blocks each block sees, other ones in every head and layer.
    Causal: blocks at the end are not global (all would see the future through them), and random blocks are drawn from
    the past alone, so that the choice does not depend on how long the sequence grows.
    """

    block: int
    window: int
    globals: int
    random: int
    seed: int

    def __post_init__(self) -> None:
        for key, least in (("block", 1), ("window", 0), ("globals", 0), ("random", 0)):
            if getattr(self, key) < least:
                raise UserError(f"attention.pattern.{key}={getattr(self, key)} must be {least} or more.")
        if self.seed < 0:
            raise UserError(f"attention.pattern.seed={self.seed} must be 0 or more.")

    def allowed(self, h: Tensor, i: Tensor, j: Tensor, length: Length, causal: bool) -> Bool[Tensor, "..."]:
        mine, other = i // self.block, j // self.block
        seen = ((mine - other).abs() <= self.window) | (mine < self.globals) | (other < self.globals)
        if not causal:
            last = self._blocks(length) - self.globals
            seen = seen | (mine >= last) | (other >= last)
        for drawn in self._drawn(h, mine, length, causal):
            seen = seen | (other == drawn)
        return seen

    def spans(self, h: Tensor, first: Tensor, last: Tensor, length: Length, causal: bool) -> list[Span]:
        size, mine, until = self.block, first // self.block, last // self.block
        zero = first * 0
        glob = mine < self.globals
        found = [((mine - self.window) * size, (until + self.window + 1) * size), (zero, zero + self.globals * size)]
        if not causal:
            tail = self._blocks(length) - self.globals
            found.append((zero + tail.clamp(min=0) * size, zero + length))
            glob = glob | (until >= tail)
        found.append((zero, glob * length))
        for step in range(int((until - mine).max()) + 1 if mine.numel() else 0):
            drawn = self._drawn(h, (mine + step).minimum(until), length, causal)
            found += [(one * size, (one + 1) * size) for one in drawn]
        return found

    def whole(
        self, h: Tensor, first: Tensor, last: Tensor, low: Tensor, high: Tensor, length: Length, causal: bool
    ) -> Bool[Tensor, "..."]:
        one = (first // self.block == last // self.block) & (low // self.block == (high - 1) // self.block)
        return one & self.allowed(h, first, low, length, causal)

    @property
    def per_head(self) -> bool:
        return self.random > 0

    @property
    def tile(self) -> int:
        whole = [size for size in range(16, 129) if self.block % size == 0]
        return max(whole, default=-(-16 // self.block) * self.block)

    def at(self, layer: int) -> "BigBird":
        return replace(self, seed=self.seed + (layer << 32))

    def _blocks(self, length: Length) -> Tensor:
        return -(-torch.as_tensor(length) // self.block)

    def _drawn(self, h: Tensor, mine: Tensor, length: Length, causal: bool) -> list[Int[Tensor, "..."]]:
        """The random blocks of query block `mine`; −1 where there are fewer to choose from."""
        # Candidates: blocks before the window and, unless causal, behind it, the global ones left out.
        end = mine if causal else self._blocks(length) - self.globals
        before = ((mine - self.window).minimum(end) - self.globals).clamp(min=0)
        resume = (mine + self.window + 1).clamp(min=self.globals)
        behind = before * 0 if causal else (end - resume).clamp(min=0)
        count, found = before + behind, []
        for t in range(self.random):
            low, high = t * count // self.random, (t + 1) * count // self.random
            # Fewer candidates than draws: each is taken once.
            slot = torch.where(count > self.random, low + (self._noise(h, mine, t) * (high - low) >> FRACTION), t)
            block = torch.where(slot < before, self.globals + slot, resume + slot - before)
            found.append(torch.where(slot < count, block, -1))
        return found

    def _noise(self, h: Tensor, mine: Tensor, t: int) -> Int[Tensor, "..."]:
        """FRACTION pseudo-random bits of (seed, layer, head, block, draw); the layer is in the seed's upper half."""
        mixed = _mix(_mix(_mix(h * 0 + (self.seed & 0xFFFFFFFF)) ^ (self.seed >> 32)) ^ h)
        return _mix(_mix(mixed ^ mine) ^ t) & ((1 << FRACTION) - 1)


def _mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit numbers that spreads every bit (the finaliser of MurmurHash3's kind)."""
    x = (x + 0x9E3779B9) & 0xFFFFFFFF
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return x ^ (x >> 16)
