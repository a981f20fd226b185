"""Batches of one size for both sides: the data's own, and rows of any length filled with words drawn once."""

from dataclasses import fields, replace
from typing import Any

import torch

from manyheads.data.base import DataSpec, TokenSpec
from manyheads.data.batch import Batch
from manyheads.data.series.batch import SeriesBatch
from manyheads.errors import UserError
from manyheads.estimate.batches import resized

WORDS = ("source", "target", "ids", "targets")
"""Fields that hold ids of words."""

LONGEST = 2048
"""Tokens up to which lengths are chosen where none are asked for: 32 rows of them take seconds on a CPU."""


def first(data: Any) -> Batch:
    """The first batch of the first test set."""
    return next(iter(data.test_dataloader()[0]))


def lengths_of(batch: Batch, spec: DataSpec) -> list[int]:
    """Quarter, half and all of the data's longest sequence; of series, the history that all windows have."""
    if isinstance(batch, SeriesBatch):
        return [batch.history.size(1)]
    longest = min(spec.longest, LONGEST)
    return sorted({max(2, longest // part) for part in (4, 2, 1)})


def sized(batch: Batch, spec: DataSpec, rows: int, length: int) -> Batch:
    """`rows` full rows of `length` tokens; of series, windows of the length that they have."""
    made = resized(batch, rows, length)
    if made is None:
        raise UserError(f"Batches of data={spec.kind} cannot be made longer or shorter, so nothing can be timed.")
    if not isinstance(spec, TokenSpec):
        return made
    # One number for all places would keep a single row of the table in the cache.
    drawn = torch.Generator().manual_seed(1)
    known = min(spec.source_vocabulary, spec.target_vocabulary)
    first = min(1 + max(spec.pad, spec.bos, spec.eos, spec.sep), known - 1)
    words = [field.name for field in fields(made) if field.name in WORDS]
    shapes = {name: getattr(made, name).shape for name in words}
    return replace(
        made, **{name: torch.randint(first, known, shape, generator=drawn) for name, shape in shapes.items()}
    )


def tokens(batch: Batch) -> int:
    """What is read: words, or values of series."""
    return batch.history.numel() if isinstance(batch, SeriesBatch) else batch.tokens
