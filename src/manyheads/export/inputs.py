"""Random inputs of the shapes that real ones have: rows of several lengths, padding, missing values."""

from dataclasses import dataclass

import torch
from torch import Tensor

from manyheads.data.base import DataSpec, DocumentSpec, SeriesSpec, TokenSpec, WordSpec
from manyheads.export.entries import Entry, Pairs

MISSING = -1.5
"""The normal number below which a value is missing: every fifteenth."""


@dataclass(frozen=True)
class Size:
    """rows: sentences, windows or documents. length: tokens of the longest row."""

    rows: int
    length: int


def sizes(entry: Entry, spec: DataSpec) -> tuple[Size, ...]:
    """The size that a graph is traced with, and others that it has to serve as well."""
    longest = _longest(entry, spec, 96)
    return tuple(Size(rows, max(2, int(longest * share))) for rows, share in ((3, 0.5), (2, 1.0), (5, 0.3), (1, 0.4)))


def large(entry: Entry, spec: DataSpec) -> Size:
    """As a batch that is to be answered soon."""
    return Size(8, _longest(entry, spec, 256))


def _longest(entry: Entry, spec: DataSpec, most: int) -> int:
    limits = [module.limit for module in entry.modules() if getattr(module, "limit", None) is not None]
    return max(4, min(spec.longest, most, *limits))


def draw(entry: Entry, spec: DataSpec, size: Size, seed: int) -> tuple[Tensor, ...]:
    """Inputs of an entry, the same for the same seed."""
    dice = torch.Generator().manual_seed(seed)
    if isinstance(spec, SeriesSpec):
        return _windows(entry, spec, size, dice)
    if isinstance(spec, DocumentSpec):
        return _chunks(spec, size, dice)
    if isinstance(spec, WordSpec):
        return _words(spec, spec.source_vocabulary, (size.rows, size.length), dice), _lengths(size, dice)
    source = _words(spec, spec.source_vocabulary, (size.rows, size.length), dice)
    if not isinstance(entry, Pairs):
        return (source,)
    written = max(2, size.length * 2 // 3)
    return source, _lengths(size, dice), _words(spec, spec.target_vocabulary, (size.rows, written), dice)


def _words(spec: TokenSpec, vocabulary: int, shape: tuple[int, int], dice: torch.Generator) -> Tensor:
    first = max(spec.pad, spec.bos, spec.eos, spec.sep) + 1
    return torch.randint(first, vocabulary, shape, generator=dice)


def _lengths(size: Size, dice: torch.Generator) -> Tensor:
    """One row is full, one has a single token."""
    found = torch.randint(1, size.length + 1, (size.rows,), generator=dice)
    found[0], found[-1] = size.length, 1
    return found


def _chunks(spec: DocumentSpec, size: Size, dice: torch.Generator) -> tuple[Tensor, ...]:
    """The first document has as many chunks as there may be, within reason; the others one or two."""
    counts = [min(spec.most, 1 + (3 - row if row < 2 else row % 2)) for row in range(size.rows)]
    document = torch.arange(size.rows).repeat_interleave(torch.tensor(counts))
    place = torch.cat([torch.arange(count) for count in counts])
    whole = Size(len(document), size.length)
    ids = _words(spec, spec.source_vocabulary, (len(document), size.length), dice)
    return ids, _lengths(whole, dice), document, place


def _windows(entry: Entry, spec: SeriesSpec, size: Size, dice: torch.Generator) -> tuple[Tensor, ...]:
    history = torch.randn(size.rows, spec.history, spec.channels, generator=dice).cumsum(1) / 4
    hidden = torch.randn(history.shape, generator=dice) < MISSING
    known = torch.randn(size.rows, spec.history + spec.horizon, spec.known, generator=dice)
    history = history.masked_fill(hidden, float("nan"))
    return (history, known) if spec.known else (history,)
