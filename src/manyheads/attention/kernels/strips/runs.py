"""Strips of neighbouring queries whose keys are few runs of neighbours, the same for all heads.

For windows, causal masks, lengths and documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from manyheads.attention.bias import Bias, DistanceBias, as_tensor
from manyheads.attention.kernels.strips.strip import Sizes, Strip, hidden, shut
from manyheads.attention.mask import Mask

QUERIES = 128
"""Queries of a strip where the keys depend on them: a window of w keys reads w + QUERIES."""

Run = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Runs(Strip):
    """rows, groups: of the batch and of its key-value heads; span: its queries; runs: of keys.

    bias: made into numbers anew each time, since those would take as much memory as the scores; offset: the position of
    query 0 among the keys.
    """

    rows: slice
    groups: slice
    span: slice
    runs: tuple[Run, ...]
    share: int
    bias: Bias | None
    offset: int

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

    def biased(self, scores: Tensor) -> Tensor:
        if self.bias is not None:
            grid = self.grid(scores)
            i = torch.arange(self.span.start, self.span.stop, device=scores.device).view(-1, 1)
            j = torch.cat([torch.arange(low, high, device=scores.device) for low, high in self.runs])
            if isinstance(self.bias, DistanceBias):
                distance = (i + self.offset - j).abs().to(scores.dtype)
                grid.addcmul_(distance, -self.bias.slopes[self.heads].to(scores.dtype).view(1, -1, 1, 1))
            else:
                grid.add_(self._pairs(self.bias, i, j))
        return scores

    def _pairs(self, bias: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """A bias (b|1, h|1, n|1, m|1) at these queries and keys."""
        rows, heads = self.rows if bias.size(0) > 1 else slice(None), self.heads if bias.size(1) > 1 else slice(None)
        i, j = (x if bias.size(axis) > 1 else x * 0 for x, axis in ((i, 2), (j, 3)))
        return bias[rows, heads][:, :, i, j]

    def shifted(self, shift: Tensor) -> Tensor:
        rows = self.rows if shift.size(0) > 1 else slice(None)
        heads = self.heads if shift.size(1) > 1 else slice(None)
        return shift[rows, heads, self.span].unsqueeze(-1)


def together(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> list[Strip]:
    """Strips of whole rows, each with all its queries and keys: for short ones."""
    added, blind = hidden(mask.dense(sizes.heads, device), dtype)
    if bias is not None:
        numbers = as_tensor(bias, mask, dtype)
        added = numbers if added is None else numbers + added
    step = max(1, sizes.scores // (sizes.heads * mask.queries * mask.keys))
    groups, span, keys = slice(0, sizes.kv_heads), slice(0, mask.queries), ((0, mask.keys),)
    return [
        Runs(_of(added, rows), slice(None), _of(blind, rows), rows, groups, span, keys, sizes.share, None, 0)
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
    return [slice(low, high) for low, high in pairwise(edges)]


def runs(mask: Mask, sizes: Sizes, bias: Bias | None, dtype: torch.dtype, device: torch.device) -> list[Strip]:
    """Strips for long rows: all rows together where the mask is the same for all, else one by one."""
    rows = [slice(0, sizes.rows)] if mask.rows == 1 else _steps(sizes.rows, 1)
    known: dict = {}
    return [strip for each in rows for strip in _Row(mask, each, sizes, bias, dtype, device, known).strips()]


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
            if found:
                yield from self._strips(span, found)

    def _strips(self, span: slice, found: tuple[Run, ...]) -> Iterator[Strip]:
        added, blind, open_ = self._added(span, found)
        each = (span.stop - span.start) * sum(high - low for low, high in found) * self.sizes.share
        groups = self.sizes.kv_heads
        for rows in _even(self.rows, max(1, self.sizes.scores // (each * groups))):
            for part in _even(slice(0, groups), max(1, self.sizes.scores // each)):
                checked = slice(open_, None)
                yield Runs(added, checked, blind, rows, part, span, found, self.sizes.share, self.bias, self.offset)

    def _runs(self, spans: list[slice]) -> Iterator[tuple[Run, ...]]:
        """The runs of keys that each span of queries needs, sorted and apart."""
        first = torch.tensor([span.start for span in spans]) + self.offset
        last = torch.tensor([span.stop for span in spans]) - 1 + self.offset
        until = (last + 1).clamp(max=self.length) if self.mask.causal else first * 0 + self.length
        since, until = self._document(first, last, until)
        pattern = self.mask.pattern
        wanted = [(since, until)]
        if pattern is not None:
            wanted = pattern.spans(first * 0, first, last, self.length, self.mask.causal)
        wanted = [(low.maximum(since).tolist(), high.minimum(until).tolist()) for low, high in wanted]
        for t in range(len(spans)):
            yield _apart(sorted((low[t], high[t]) for low, high in wanted if high[t] > low[t]))

    def _document(self, first: Tensor, last: Tensor, until: Tensor) -> tuple[Tensor, Tensor]:
        """Where the keys of these queries' documents begin and end, where documents follow one another."""
        if self.mask.documents is None:
            return first * 0, until
        documents = self.mask.documents[self.rows.start].cpu()
        if (documents.diff() < 0).any():
            return first * 0, until
        ends = [documents[x.clamp(0, self.mask.keys - 1)] for x in (first, last)]
        since, behind = (
            torch.searchsorted(documents, x, right=side) for x, side in zip(ends, (False, True), strict=True)
        )
        return since, behind.minimum(until)

    def _added(self, span: slice, found: tuple[Run, ...]) -> tuple[Tensor | None, Tensor | None, int]:
        """(added, blind) of the columns behind those open to all queries, and how many those are."""
        open_, checked = self._opened(span, found)
        if not checked:
            return None, None, open_
        start = span.start + self.offset
        pattern = self.mask.pattern
        relative = self.mask.documents is None and (pattern is None or pattern.relative(start, checked))
        place = tuple((low - start, high - start) for low, high in checked)
        key = (span.stop - span.start, place, bool(open_)) if relative else (self.rows.start, span.start)
        if key not in self.known:
            self.known[key] = self._make(span, checked, bool(open_))
        return *self.known[key], open_

    def _opened(self, span: slice, found: tuple[Run, ...]) -> tuple[int, tuple[Run, ...]]:
        """How many columns at the start every query of the span sees, and the runs of the other columns."""
        if self.mask.documents is not None:
            return 0, found
        first, last = span.start + self.offset, span.stop - 1 + self.offset
        open_, rest = 0, list(found)
        while rest:
            low, high = rest[0]
            seen = max(low, min(high, first + 1)) if self.mask.causal else high
            if seen == low or not self._whole(first, last, low, seen):
                break
            open_, rest = open_ + seen - low, [(seen, high), *rest[1:]] if seen < high else rest[1:]
        return open_, tuple(rest)

    def _whole(self, first: int, last: int, low: int, high: int) -> bool:
        pattern = self.mask.pattern
        if pattern is None:
            return True
        edges = (torch.tensor(x) for x in (0, first, last, low, high))
        return bool(pattern.whole(*edges, self.length, self.mask.causal))

    def _make(self, span: slice, checked: tuple[Run, ...], seen_elsewhere: bool) -> tuple[Tensor | None, Tensor | None]:
        i = torch.arange(span.start, span.stop, device=self.device).view(-1, 1)
        j = torch.cat([torch.arange(low, high, device=self.device) for low, high in checked]).view(1, -1)
        row, head = (torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=self.device) for _ in range(2))
        seen = self.mask.allowed(row + self.rows.start, head, i, j).expand(1, 1, i.numel(), j.numel())
        return shut(seen, self.dtype) if seen_elsewhere else hidden(seen, self.dtype)


def _apart(wanted: list[Run]) -> tuple[Run, ...]:
    """Sorted runs, with those merged that touch."""
    found: list[Run] = []
    for low, high in wanted:
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
