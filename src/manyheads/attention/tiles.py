"""Which tiles of keys each tile of queries needs: the form of a mask by which kernels skip what nobody looks at.

Made from the pattern's spans, causality, lengths and documents, in time and memory that grow with the number of tiles
needed, never with queries × keys.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from manyheads.attention.mask import Mask


@dataclass(frozen=True, eq=False)
class Tiles:
    """Lists of tiles, in compressed rows.

    bounds (R, H, T, 3): for row r, head h and query tile t, `index[start:middle]` are key tiles of which every query
        may see every key, `index[middle:end]` those where pairs have to be checked one by one. R and H are 1 where all
        rows or all heads share their lists.
    index (p,): numbers of key tiles, ascending within each part.
    listed: the same as pairs (flat index into (R, H, T), key tile, whether whole), in no particular order.
    ragged: whether some listed pair of tiles is not wholly allowed by the pattern itself, whatever the rest of the mask
        says: then the pattern, too, has to be checked pair by pair.
    """

    bounds: Int[Tensor, "R H T 3"]
    index: Int[Tensor, "p"]
    ragged: bool
    listed: tuple[Tensor, Tensor, Tensor]
    key_tiles: int

    @cached_property
    def transposed(self) -> "Tiles":
        """The same with the roles swapped: for each key tile, the query tiles that read it."""
        groups, keys, whole = self.listed
        query_tiles = self.bounds.size(2)
        swapped = (groups // query_tiles * self.key_tiles + keys, groups % query_tiles, whole)
        shape = (*self.bounds.shape[:2], self.key_tiles)
        return _compressed(swapped, shape, query_tiles, self.ragged)


def tiles(mask: Mask, heads: int, query_tile: int, key_tile: int, device: torch.device) -> Tiles:
    """The lists for tiles of these sizes, made once per mask. Query tile t holds queries t · query_tile and on."""
    key = ("tiles", heads if mask.per_head else 1, query_tile, key_tile, device)
    return mask.once(key, lambda: _tiles(mask, heads, query_tile, key_tile, device))


def _tiles(mask: Mask, heads: int, query_tile: int, key_tile: int, device: torch.device) -> Tiles:
    frame = _Frame(mask, heads if mask.per_head else 1, query_tile, key_tile, device)
    groups, keys = frame.candidates()
    kept, whole, ragged = frame.judged(groups, keys)
    listed = (groups[kept], keys[kept], whole[kept])
    return _compressed(listed, frame.shape, frame.key_tiles, bool(ragged[kept].any()))


def _compressed(listed: tuple[Tensor, Tensor, Tensor], shape: tuple[int, ...], others: int, ragged: bool) -> Tiles:
    group, other, whole = listed
    order = ((group * 2 + ~whole) * others + other).argsort()
    rows = shape[0] * shape[1] * shape[2]
    total, full = (torch.bincount(g, minlength=rows) for g in (group, group[whole]))
    end = total.cumsum(0)
    bounds = torch.stack([end - total, end - total + full, end], -1).view(*shape, 3)
    return Tiles(bounds.int(), other[order].int(), ragged, listed, others)


class _Frame:
    """Tiles of queries over rows (R), heads (H) and time (T), and what the mask says of a pair of tiles."""

    def __init__(self, mask: Mask, heads: int, query_tile: int, key_tile: int, device: torch.device) -> None:
        self.mask, self.query_tile, self.key_tile = mask, query_tile, key_tile
        self.key_tiles = -(-mask.keys // key_tile)
        rows, query_tiles = mask.rows, -(-mask.queries // query_tile)
        self.shape = (rows, heads, query_tiles)
        self.head = torch.arange(heads, device=device).view(1, -1, 1)
        start = torch.arange(query_tiles, device=device).view(1, 1, -1) * query_tile
        offset = mask.offset.view(-1, 1, 1) if isinstance(mask.offset, Tensor) else mask.offset
        self.first = (start + offset).expand(self.shape)
        self.last = ((start + query_tile).clamp(max=mask.queries) - 1 + offset).expand(self.shape)
        everything = torch.full((1, 1, 1), mask.keys, device=device)
        self.length = everything if mask.lengths is None else mask.lengths.view(-1, 1, 1)

    def candidates(self) -> tuple[Tensor, Tensor]:
        """Pairs (group, key tile) that the spans touch, each once; a group is a flat index into (R, H, T)."""
        until = self.length.expand(self.shape)
        if self.mask.causal:
            until = until.minimum(self.last + 1)
        found = []
        for low, high in self._spans():
            low = low.expand(self.shape).clamp(min=0)
            high = high.expand(self.shape).minimum(until)
            some, low, high = high > low, low // self.key_tile, -(-high // self.key_tile)
            count = torch.where(some, high - low, 0).flatten()
            group = torch.arange(count.numel(), device=count.device).repeat_interleave(count)
            before = (count.cumsum(0) - count)[group]
            place = torch.arange(group.numel(), device=count.device) - before + low.flatten()[group]
            found.append(group * self.key_tiles + place)
        pairs = torch.cat(found).unique()
        return pairs // self.key_tiles, pairs % self.key_tiles

    def _spans(self) -> list[tuple[Tensor, Tensor]]:
        if self.mask.pattern is None:
            return [(self.first * 0, self.first * 0 + self.length)]
        return self.mask.pattern.spans(self.head, self.first, self.last, self.length, self.mask.causal)

    def judged(self, groups: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair: whether to list it, whether it is wholly allowed, whether the pattern needs checks in it."""
        each = (self.head, self.first, self.last, self.length)
        head, first, last, length = (x.expand(self.shape).flatten()[groups] for x in each)
        low = keys * self.key_tile
        high = (low + self.key_tile).clamp(max=self.mask.keys)
        kept = low < length
        whole = low + self.key_tile <= length
        if self.mask.causal:
            whole = whole & (high - 1 <= first)
        if self.mask.documents is not None:
            touch, same = self._documents(groups, keys)
            kept, whole = kept & touch, whole & same
        if self.mask.pattern is None:
            return kept, whole, torch.zeros_like(kept)
        high = high.minimum(length)
        regular = self.mask.pattern.whole(head, first, last, low, high, length, self.mask.causal)
        return kept, whole & regular, ~regular

    def _documents(self, groups: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Whether a pair of tiles may share a document, and whether all of it is one document."""
        row, time = groups // (self.shape[1] * self.shape[2]), groups % self.shape[2]
        least, most = self._keys_documents()
        own_least, own_most, inside = self._queries_documents()
        low, high, own_low, own_high = least[row, keys], most[row, keys], own_least[row, time], own_most[row, time]
        touch = (own_low <= high) & (low <= own_high)
        same = (low == high) & (own_low == own_high) & (low == own_low) & inside[row, time]
        return touch, same

    def _keys_documents(self) -> tuple[Tensor, Tensor]:
        """Least and greatest document of each key tile (R, key tiles)."""
        documents = self.mask.documents
        padded = torch.cat([documents, documents[:, -1:].expand(-1, -documents.size(1) % self.key_tile)], 1)
        return padded.view(len(documents), -1, self.key_tile).aminmax(dim=-1)

    def _queries_documents(self) -> tuple[Tensor, Tensor, Tensor]:
        """Least and greatest document of each query tile (R, T), and whether all of its queries have one."""
        documents = self.mask.documents
        step = torch.arange(self.query_tile, device=documents.device)
        first, last = self.first[:, 0].unsqueeze(-1), self.last[:, 0].unsqueeze(-1)
        position = (first + step).minimum(last)
        inside = ((position >= 0) & (position < self.mask.keys)).all(-1)
        position = position.clamp(0, self.mask.keys - 1)
        own = documents.gather(1, position.flatten(1)).view(position.shape)
        return own.amin(-1), own.amax(-1), inside


def counts(mask: Mask, heads: int, device: torch.device) -> Int[Tensor, "#b #h n"]:
    """How many keys each query may see, made once per mask; without comparing every query with every key."""
    return mask.once(("counts", heads if mask.per_head else 1, device), lambda: _counts(mask, heads, device))


def _counts(mask: Mask, heads: int, device: torch.device) -> Tensor:
    if mask.documents is not None or mask.pattern is not None:
        return _counted(mask, heads, device)
    position = torch.arange(mask.queries, device=device).view(1, 1, -1)
    length = mask.keys if mask.lengths is None else mask.lengths.view(-1, 1, 1)
    if not mask.causal:
        return (position * 0 + length).expand(mask.rows, 1, -1)
    offset = mask.offset.view(-1, 1, 1) if isinstance(mask.offset, Tensor) else mask.offset
    return (position + offset + 1).clamp(min=0).minimum(torch.as_tensor(length, device=device))


COUNTED = 64
"""Side of the tiles by which pairs are counted."""


def _counted(mask: Mask, heads: int, device: torch.device) -> Tensor:
    listed = tiles(mask, heads, COUNTED, COUNTED, device)
    rows, per_head, times = listed.bounds.shape[:3]
    groups, keys, whole = listed.listed
    found = torch.zeros(rows * per_head * times, COUNTED, dtype=torch.int64, device=device)
    found.index_add_(0, groups[whole], torch.full((1, 1), COUNTED, device=device).expand(int(whole.sum()), COUNTED))
    step = torch.arange(COUNTED, device=device)
    for some, other in zip(groups[~whole].split(512), keys[~whole].split(512), strict=True):
        row, head, time = (x.view(-1, 1, 1) for x in torch.unravel_index(some, (rows, per_head, times)))
        i, j = (time * COUNTED + step.view(-1, 1)).expand(-1, -1, 1), other.view(-1, 1, 1) * COUNTED + step
        real = (i < mask.queries) & (j < mask.keys)
        seen = mask.allowed(row, head, i.clamp(max=mask.queries - 1), j.clamp(max=mask.keys - 1)) & real
        found.index_add_(0, some, seen.sum(-1))
    return found.view(rows, per_head, -1)[..., : mask.queries]
