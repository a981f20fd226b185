"""The batches that take most, and batches of other sizes made of them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from manyheads.data.batch import Batch, PairBatch
from manyheads.data.documents.batch import DocumentBatch
from manyheads.data.formal.batch import WordBatch
from manyheads.data.series.batch import SeriesBatch
from manyheads.data.stream.batch import TextBatch


def largest(loader: DataLoader, most: int | float) -> list[Batch]:
    """The batch of most cells and that of the longest row, which may be the same, of the first `most` (a float: share).

    Of data whose rows do not tell their lengths: the first batch.
    """
    batches = list(loader.batch_sampler if loader.batch_sampler is not None else loader.sampler)
    lengths = getattr(loader.dataset, "lengths", None)
    if lengths is None:
        lengths = _lengths(loader.dataset)
    batches = batches[: most if isinstance(most, int) else max(1, int(most * len(batches)))]
    if lengths is None:
        return [next(iter(loader))]
    sizes = [(len(rows), lengths[np.asarray(rows, np.int64)].max(0)) for rows in batches]
    cells = max(range(len(sizes)), key=lambda at: sizes[at][0] * sizes[at][1].sum())
    longest = max(range(len(sizes)), key=lambda at: (sizes[at][1].max(), sizes[at][0]))
    return [_made(loader, batches[at]) for at in dict.fromkeys((cells, longest))]


def _lengths(rows: Any) -> np.ndarray | None:
    sides = [getattr(rows, name, None) for name in ("source", "target")]
    return None if None in sides else np.stack([side.lengths for side in sides], 1)


def _made(loader: DataLoader, rows: Any) -> Batch:
    return loader.collate_fn(loader.dataset[rows])


@singledispatch
def resized(batch: Batch, rows: int, length: int) -> Batch | None:
    """A batch of so many full rows of this length in tokens; None where nobody knows how."""
    return None


@resized.register
def _(batch: PairBatch, rows: int, length: int) -> PairBatch:
    sides = {name: torch.ones(rows, length, dtype=torch.int64) for name in ("source", "target")}
    full = torch.full((rows,), length)
    return PairBatch(
        index=torch.arange(rows), tokens=2 * rows * length, source_lengths=full, target_lengths=full.clone(), **sides
    )


@resized.register
def _(batch: TextBatch, rows: int, length: int) -> TextBatch:
    ids, none = torch.ones(rows, length, dtype=torch.int64), torch.zeros(rows, length, dtype=torch.int64)
    if batch.several:
        # As many documents a row as the row has halves: what counts is that there are several.
        none = none + (torch.arange(length) * 2 // max(1, length))
    every = torch.ones(rows, length, dtype=torch.bool)
    return replace(
        batch, index=torch.arange(rows), tokens=rows * length, ids=ids, targets=ids, documents=none, counted=every
    )


@resized.register
def _(batch: DocumentBatch, rows: int, length: int) -> DocumentBatch:
    """Rows are chunks, spread over as many documents as there are now, or fewer."""
    documents = min(len(batch), rows)
    which = torch.arange(rows) * documents // rows
    place = torch.arange(rows) - torch.searchsorted(which, which)
    labels = None if batch.labels is None else _taken(batch.labels, documents)
    ids = torch.ones(rows, length, dtype=torch.int64)
    return DocumentBatch(
        index=torch.arange(documents), tokens=rows * length, ids=ids, lengths=torch.full((rows,), length),
        document=which, place=place, labels=labels,
    )  # fmt: skip


@resized.register
def _(batch: WordBatch, rows: int, length: int) -> WordBatch:
    ids = torch.ones(rows, length, dtype=torch.int64)
    full, labels = torch.full((rows,), length), torch.zeros_like(ids)
    return WordBatch(index=torch.arange(rows), tokens=rows * length, ids=ids, lengths=full, labels=labels)


@resized.register
def _(batch: SeriesBatch, rows: int, length: int) -> SeriesBatch:
    """Only the number of windows changes; how long they are is the model's own size."""
    return batch._each(lambda x: _taken(x, rows))


def _taken(x: Tensor, rows: int) -> Tensor:
    return x[torch.arange(rows) % len(x)]


def extent(batch: Batch) -> tuple[int, int]:
    """Rows (of documents: chunks) and the length of the longest."""
    for name in ("source", "ids"):
        found = getattr(batch, name, None)
        if found is not None:
            longest = max(found.size(1), batch.target.size(1)) if isinstance(batch, PairBatch) else found.size(1)
            return found.size(0), longest
    return len(batch), batch.history.size(1) if isinstance(batch, SeriesBatch) else 1


def first_of(loaders: DataLoader | Iterable[DataLoader]) -> DataLoader:
    return loaders if isinstance(loaders, DataLoader) else next(iter(loaders))
