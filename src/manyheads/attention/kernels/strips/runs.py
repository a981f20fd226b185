"""Strips of neighbouring queries whose keys are few runs of neighbours, the same for all heads: windows, causal, lengths,
documents."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.kernels.strips.strip import Sizes, Strip, hidden
from manyheads.attention.mask import Mask

QUERIES = 128
"""Queries of a strip where the keys depend on them: a window of w keys reads w + QUERIES."""

Run = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Runs(Strip):
    """rows, groups: of the batch and of its key-value heads; span: its queries; runs: of keys."""

    rows: slice
    groups: slice
    span: slice
    runs: tuple[Run, ...]
    share: int

    @cached_property
    def heads(self) -> slice:
        return slice(self.groups.start * self.share, self.groups.stop * self.share)

    @property
    def held(self) -> int:
        rows, heads, span = (part.stop - part.start for part in (self.rows, self.heads, self.span))
        return rows * heads * span

    def queries(self, x: Tensor) -> Tensor:
        part = x[self.rows, self.heads, self.span]
        return part.reshape(-1, self.share * part.size(2), part.size(3))

    def keys(self, x: Tensor) -> Tensor:
        part = x[self.rows, self.groups]
        if len(self.runs) == 1:
            # Contiguous, or each product would copy them for itself.
            part = part[:, :, self.runs[0][0] : self.runs[0][1]].contiguous()
        else:
            part = torch.cat([part[:, :, low:high] for low, high in self.runs], 2)
        return part.view(-1, *part.shape[2:])

    def put(self, part: Tensor, whole: Tensor) -> None:
        place = whole[self.rows, self.heads, self.span]
        place.copy_(part.view(place.shape))

    def add(self, part: Tensor, whole: Tensor) -> None:
        place = whole[self.rows, self.groups]
        part = part.view(*place.shape[:2], *part.shape[1:])
        sizes = [high - low for low, high in self.runs]
        for (low, high), piece in zip(self.runs, part.split(sizes, 2), strict=True):
            place[:, :, low:high].add_(piece)

    def grid(self, scores: Tensor) -> Tensor:
        rows = self.rows.stop - self.rows.start
        return scores.view(rows, -1, self.span.stop - self.span.start, scores.size(-1))

    def shifted(self, shift: Tensor) -> Tensor:
        rows = self.rows if shift.size(0) > 1 else slice(None)
        heads = self.heads if shift.size(1) > 1 else slice(None)
        return shift[rows, heads, self.span].unsqueeze(-1)


def together(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> list[Strip]:
    """Strips of whole rows, each with all its queries and keys: for short ones."""
    added, blind = hidden(mask.dense(sizes.heads, device), dtype)
    if bias is not None:
        numbers = (bias.dense(mask) if isinstance(bias, DistanceBias) else bias).to(dtype)
        added = numbers if added is None else numbers + added
    everything = Runs(
        added, slice(None), blind, slice(0), slice(0, sizes.kv_heads), slice(0, mask.queries), (), sizes.share
    )
    everything = replace(everything, runs=((0, mask.keys),))
    step = max(1, sizes.scores // (sizes.heads * mask.queries * mask.keys))
    return [
        replace(everything, rows=rows, added=_of(added, rows), blind=_of(blind, rows))
        for rows in _steps(sizes.rows, step)
    ]


def _of(x: Tensor | None, rows: slice) -> Tensor | None:
    return x if x is None or x.size(0) == 1 else x[rows]


def _steps(total: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]


def _even(whole: slice, most: int) -> list[slice]:
    """As few parts of at most `most` as there can be, all about equally long."""
    length = whole.stop - whole.start
    parts = -(-length // most)
    edges = [whole.start + length * part // parts for part in range(parts + 1)]
    return [slice(low, high) for low, high in zip(edges, edges[1:], strict=False)]


def runs(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> list[Strip]:
    """Strips for long rows: all rows together where the mask is the same for all, else one by one."""
    rows = [slice(0, sizes.rows)] if mask.rows == 1 else _steps(sizes.rows, 1)
    found, known = [], {}
    for each in rows:
        cutter = _Row(mask, each, sizes, bias, dtype, device, known)
        found += list(cutter.strips())
    return found


class _Row:
    """The strips of rows that share one mask. `known` remembers what is added, which repeats along a window."""

    def __init__(
        self,
        mask: Mask,
        rows: slice,
        sizes: Sizes,
        bias: Bias | None,
        dtype: torch.dtype,
        device: torch.device,
        known: dict,
    ) -> None:
        self.mask, self.rows, self.sizes, self.bias = mask, rows, sizes, bias
        self.dtype, self.device, self.known = dtype, device, known
        self.offset = int(mask.offset[rows.start]) if isinstance(mask.offset, Tensor) else mask.offset
        self.length = mask.keys if mask.lengths is None else int(mask.lengths[rows.start])
        dependent = mask.causal or mask.pattern is not None or mask.documents is not None
        self.step = QUERIES if dependent else min(mask.queries, max(16, sizes.scores // max(1, self.length)))

    def strips(self) -> Iterator[Strip]:
        spans = _steps(self.mask.queries, self.step)
        for span, found in zip(spans, self._runs(spans), strict=True):
            count = sum(high - low for low, high in found)
            if not count:
                continue
            yield from self._strips(span, found, count)

    def _strips(self, span: slice, found: tuple[Run, ...], count: int) -> Iterator[Strip]:
        each, groups = (span.stop - span.start) * count * self.sizes.share, self.sizes.kv_heads
        for some in _even(self.rows, max(1, self.sizes.scores // (each * groups))):
            for part in _even(slice(0, groups), max(1, self.sizes.scores // each)):
                added, blind = self._added(some, part, span, found)
                yield Runs(added, slice(None), blind, some, part, span, found, self.sizes.share)

    def _runs(self, spans: list[slice]) -> Iterator[tuple[Run, ...]]:
        """The runs of keys that each span of queries needs, sorted and apart."""
        first = torch.tensor([span.start for span in spans]) + self.offset
        last = torch.tensor([span.stop for span in spans]) - 1 + self.offset
        until = (last + 1).clamp(max=self.length) if self.mask.causal else first * 0 + self.length
        pattern = self.mask.pattern
        wanted = [(first * 0, until)]
        if pattern is not None:
            wanted = pattern.spans(first * 0, first, last, self.length, self.mask.causal)
        wanted = [(low.clamp(min=0).tolist(), high.minimum(until).tolist()) for low, high in wanted]
        for t in range(len(spans)):
            yield _apart(sorted((low[t], high[t]) for low, high in wanted if high[t] > low[t]))

    def _added(
        self, rows: slice, groups: slice, span: slice, found: tuple[Run, ...]
    ) -> tuple[Tensor | None, Tensor | None]:
        key = self._place(span, found, groups)
        if key is None:
            return self._make(rows, groups, span, found)
        if key not in self.known:
            self.known[key] = self._make(rows, groups, span, found)
        return self.known[key]

    def _place(self, span: slice, found: tuple[Run, ...], groups: slice) -> tuple | None:
        """What the mask of a strip depends on, where that is no more than distances; None where it is."""
        pattern = self.mask.pattern
        relative = pattern is None or pattern.relative(span.start + self.offset, found)
        if self.mask.documents is not None or isinstance(self.bias, Tensor) or not relative:
            return None
        start = span.start + self.offset
        whose = groups.start if self.bias is not None else 0
        return (span.stop - span.start, tuple((low - start, high - start) for low, high in found), whose)

    def _make(
        self, rows: slice, groups: slice, span: slice, found: tuple[Run, ...]
    ) -> tuple[Tensor | None, Tensor | None]:
        i = torch.arange(span.start, span.stop, device=self.device).view(-1, 1)
        j = torch.cat([torch.arange(low, high, device=self.device) for low, high in found]).view(1, -1)
        row, head = (torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=self.device) for _ in range(2))
        seen = self.mask.allowed(row + rows.start, head, i, j).expand(1, 1, i.numel(), j.numel())
        added, blind = hidden(seen, self.dtype)
        if self.bias is None:
            return added, blind
        numbers = self._bias(rows, groups, i, j).to(self.dtype)
        return numbers if added is None else numbers + added, blind

    def _bias(self, rows: slice, groups: slice, i: Tensor, j: Tensor) -> Tensor:
        heads = slice(groups.start * self.sizes.share, groups.stop * self.sizes.share)
        if isinstance(self.bias, DistanceBias):
            return -self.bias.slopes[heads].view(1, -1, 1, 1) * (i + self.offset - j).abs()
        full = self.bias.expand(self.sizes.rows, self.sizes.heads, self.mask.queries, self.mask.keys)
        return full[rows, heads, i, j]


def _apart(wanted: list[Run]) -> tuple[Run, ...]:
    """Sorted runs, with those merged that touch."""
    found: list[Run] = []
    for low, high in wanted:
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
