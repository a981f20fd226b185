"""A map of few cells, whatever the length: how much the queries of a block read of the keys of a block.

Up to `cells` tokens a cell is one weight. Beyond, `each` queries of a block stand for all of them, and a cell is the
mean over them of what they read of its keys altogether, so that rows sum to what rows of weights sum to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.analysis.capture import Read
from manyheads.analysis.measures import disagreement, distance, effective, entropy

AT_ONCE = 1 << 23
"""Weights that are made at once: 32 MiB in fp32."""


@dataclass(frozen=True)
class Map:
    """mass (h, y, x): what blocks of queries read of blocks of keys. seen: whether they may see any of it.

    rows, columns (y + 1,), (x + 1,): where blocks begin, and the end. name, across, heads: as in `Read`.
    entropy, effective, distance (h,); distance None across sequences. disagreement (h, h). See `measures`.
    """

    name: str
    across: bool
    heads: tuple[int, ...]
    mass: Float[np.ndarray, "h y x"]
    seen: Bool[np.ndarray, "h y x"]
    rows: Int[np.ndarray, "y1"]
    columns: Int[np.ndarray, "x1"]
    entropy: Float[np.ndarray, "h"]
    effective: Float[np.ndarray, "h"]
    distance: Float[np.ndarray, "h"] | None
    disagreement: Float[np.ndarray, "h h"]

    @property
    def exact(self) -> bool:
        """Whether each cell is one weight."""
        return self.rows[-1] == len(self.rows) - 1 and self.columns[-1] == len(self.columns) - 1


def mapped(read: Read, cells: int, each: int) -> Map:
    """The map of one document, of at most `cells` × `cells` cells, from `each` queries of a block of several."""
    n, m = lengths(read)
    rows, columns = edges(n, cells), edges(m, cells)
    asked, block = sampled(rows, each)
    parts = asked.split(max(1, AT_ONCE // (m * len(read.heads))))
    mass, may, numbers = zip(*(_taken(read, part, m, columns) for part in parts), strict=True)
    mass, may = (_mean_of_blocks(torch.cat(found, 1).cpu(), block, len(rows) - 1) for found in (mass, may))
    numbers = _together(numbers, [len(part) for part in parts])
    what = (read.name, read.across, read.heads)
    return Map(*what, mass.numpy(), may.numpy() > 0, rows.numpy(), columns.numpy(), **numbers)


def lengths(read: Read) -> tuple[int, int]:
    """Queries and keys without padding on the right; at least one of each."""
    n = int(read.real.nonzero().max() + 1) if read.real.any() else 1
    m = read.k.size(2)
    if read.mask.lengths is not None:
        m = int(read.mask.lengths[0])
    elif not read.across and read.offset == 0:
        m = n
    return n, max(1, min(m, read.k.size(2)))


def edges(length: int, cells: int) -> Int[Tensor, "y1"]:
    """Where at most `cells` blocks of about the same size begin, and the end."""
    count = min(length, cells)
    return torch.arange(count + 1) * length // count


def sampled(rows: Int[Tensor, "y1"], each: int) -> tuple[Int[Tensor, "r"], Int[Tensor, "r"]]:
    """Up to `each` queries of every block, evenly apart, and the block of each."""
    found, block = [], []
    for number, (begin, end) in enumerate(zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True)):
        count = min(each, end - begin)
        found += [begin + (2 * at + 1) * (end - begin) // (2 * count) for at in range(count)]
        block += [number] * count
    return torch.tensor(found), torch.tensor(block)


def _taken(read: Read, part: Int[Tensor, "r"], m: int, columns: Int[Tensor, "x1"]) -> tuple[Tensor, Tensor, dict]:
    """What some queries read of each block, how many of its keys they may see, and their numbers."""
    weights, seen = read.weights(part)[..., :m], read.seen(part)[..., :m]
    positions = None if read.across else part + read.offset
    return _summed(weights, columns), _summed(seen.float(), columns), _numbers(weights, positions)


def _summed(weights: Float[Tensor, "h r m"], columns: Int[Tensor, "x1"]) -> Float[Tensor, "h r x"]:
    """Over the keys of each block."""
    place = torch.bucketize(torch.arange(weights.size(-1)), columns[1:], right=True).to(weights.device)
    found = weights.new_zeros(*weights.shape[:2], len(columns) - 1)
    return found.index_add_(2, place, weights)


def _mean_of_blocks(rows: Float[Tensor, "h r x"], block: Int[Tensor, "r"], count: int) -> Float[Tensor, "h y x"]:
    total = rows.new_zeros(rows.size(0), count, rows.size(2)).index_add_(1, block, rows)
    return total / torch.bincount(block, minlength=count).view(1, -1, 1)


def _numbers(weights: Tensor, positions: Tensor | None) -> dict[str, Tensor | None]:
    return {
        "entropy": entropy(weights),
        "effective": effective(weights),
        "distance": None if positions is None else distance(weights, positions),
        "disagreement": disagreement(weights),
    }


def _together(parts: tuple[dict[str, Tensor | None], ...], sizes: list[int]) -> dict[str, np.ndarray | None]:
    """Means over parts, by their numbers of rows; parts that read nothing say nothing."""
    found = {}
    for name in parts[0]:
        if parts[0][name] is None:
            found[name] = None
            continue
        values = torch.stack([part[name] for part in parts]).cpu()
        weight = torch.tensor(sizes, dtype=values.dtype).view(-1, *[1] * (values.dim() - 1)) * ~values.isnan()
        found[name] = (values.nan_to_num() * weight).sum(0).div(weight.sum(0)).numpy()
    return found
