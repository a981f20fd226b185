"""Strips of tiles from anywhere: each (row, head, query tile) gathers the key tiles on its own list. For patterns whose
heads differ, such as BigBird's random blocks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.kernels.strips.strip import Sizes, Strip, hidden, shut
from manyheads.attention.mask import Mask
from manyheads.attention.tiles import Tiles, tiles


@dataclass(frozen=True, eq=False)
class Items(Strip):
    """Items (row, head, query tile), each with the same number of key tiles.

    place (s,): their flat numbers; source (s · tiles,): flat (row, key-value head, key tile). `bias` gives the numbers
    to add to the scores anew each time, since they would take as much memory as the scores.
    """

    place: Tensor
    source: Tensor
    tile: int
    bias: "_Bias | None"

    @property
    def held(self) -> int:
        return len(self.place) * self.tile

    def queries(self, x: Tensor) -> Tensor:
        return self._tiled(x).index_select(0, self.place).view(len(self.place), self.tile, -1)

    def keys(self, x: Tensor) -> Tensor:
        return self._tiled(x).index_select(0, self.source).view(len(self.place), -1, x.size(-1))

    def put(self, part: Tensor, whole: Tensor) -> None:
        self._tiled(whole).index_copy_(0, self.place, part.reshape(len(self.place), -1))

    def add(self, part: Tensor, whole: Tensor) -> None:
        self._tiled(whole).index_add_(0, self.source, part.reshape(len(self.source), -1).to(whole.dtype))

    def grid(self, scores: Tensor) -> Tensor:
        return scores

    def shifted(self, shift: Tensor) -> Tensor:
        return shift.reshape(-1, self.tile).index_select(0, self.place).unsqueeze(-1)

    def biased(self, scores: Tensor) -> Tensor:
        return scores if self.bias is None else scores.add_(self.bias.numbers().to(scores.dtype))

    def _tiled(self, x: Tensor) -> Tensor:
        """(b, h, n, d) as (b · h · n / tile, tile · d), a view: the caller has padded n and made it contiguous."""
        return x.view(-1, self.tile * x.size(-1))


@dataclass(frozen=True, eq=False)
class _Bias:
    """A bias at the pairs of some items: row, head (s, 1, 1), queries i (s, x, 1) and keys j (s, 1, y)."""

    bias: Bias
    mask: Mask
    row: Tensor
    head: Tensor
    i: Tensor
    j: Tensor

    def numbers(self) -> Tensor:
        if not isinstance(self.bias, DistanceBias):
            shape = (int(self.row.max()) + 1, int(self.head.max()) + 1, self.mask.queries, self.mask.keys)
            return self.bias.expand([max(size, own) for size, own in zip(shape, self.bias.shape, strict=True)])[
                self.row, self.head, self.i, self.j
            ]
        offset = self.mask.offset[self.row] if isinstance(self.mask.offset, Tensor) else self.mask.offset
        return -self.bias.slopes[self.head] * (self.i + offset - self.j).abs()


def items(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> list[Strip]:
    """Items with equally many whole and equally many other key tiles go together, as many as make a strip."""
    cutter = _Cutter(mask, sizes, bias, dtype, device)
    found = []
    for whole, part in cutter.kinds():
        place = ((cutter.whole == whole) & (cutter.part == part)).nonzero().flatten()
        step = max(1, sizes.scores // (cutter.tile**2 * (whole + part)))
        found += [cutter.strip(some, whole, part) for some in place.split(step)]
    return found


class _Cutter:
    def __init__(self, mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> None:
        self.mask, self.sizes, self.bias, self.dtype = mask, sizes, bias, dtype
        self.tile = mask.pattern.tile
        self.listed: Tiles = tiles(mask, sizes.heads, self.tile, self.tile, device)
        self.times, self.key_tiles = self.listed.bounds.size(2), -(-mask.keys // self.tile)
        bounds = self.listed.bounds.long().expand(sizes.rows, sizes.heads, -1, 3).reshape(-1, 3)
        self.start, self.whole, self.part = bounds[:, 0], bounds[:, 1] - bounds[:, 0], bounds[:, 2] - bounds[:, 1]
        # Whole by the pattern: what is left to check is the rest of the mask, and that is much cheaper to say.
        self.checked = mask if self.listed.ragged else mask.without_pattern()

    def kinds(self) -> list[tuple[int, int]]:
        """All (whole, other) numbers of tiles that items have; those with none see nothing."""
        found = torch.stack([self.whole, self.part], 1).unique(dim=0).tolist()
        return [(whole, part) for whole, part in found if whole + part]

    def strip(self, place: Tensor, whole: int, part: int) -> Items:
        step = torch.arange(self.tile, device=place.device)
        row, head, time = torch.unravel_index(place, (self.sizes.rows, self.sizes.heads, self.times))
        named = self.listed.index[self.start[place].unsqueeze(1) + torch.arange(whole + part, device=place.device)]
        named = named.long()
        group = row * self.sizes.kv_heads + head // self.sizes.share
        row, head = row.view(-1, 1, 1), head.view(-1, 1, 1)
        i = (time.view(-1, 1, 1) * self.tile + step.view(1, -1, 1)).clamp(max=self.mask.queries - 1)
        j = (named.unsqueeze(2) * self.tile + step).flatten(1).unsqueeze(1)
        added, blind = self._hidden(row, head, i, j[:, :, whole * self.tile :], whole)
        bias = None
        if self.bias is not None:
            bias = _Bias(self.bias, self.mask, row, head, i, j.clamp(max=self.mask.keys - 1))
        source = (group.unsqueeze(1) * self.key_tiles + named).flatten()
        return Items(added, slice(whole * self.tile, None), blind, place, source, self.tile, bias)

    def _hidden(
        self, row: Tensor, head: Tensor, i: Tensor, j: Tensor, whole: int
    ) -> tuple[Tensor | None, Tensor | None]:
        if not j.size(2):
            return None, None
        seen = self.checked.allowed(row, head, i, j.clamp(max=self.mask.keys - 1)) & (j < self.mask.keys)
        # Along a sequence the same triangle comes again and again.
        seen = seen[:1] if (seen == seen[:1]).all() else seen
        return shut(seen, self.dtype) if whole else hidden(seen, self.dtype)
