"""Windows cut out of series: one array for all series of a panel, and where each window begins in it.

No window is stored; a batch is copied out of a view in one operation.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from manyheads.data.series.batch import SeriesBatch
from manyheads.data.series.calendar import calendar, features
from manyheads.data.series.dates import written
from manyheads.data.series.missing import Missing, fill
from manyheads.data.series.read import Series
from manyheads.data.series.scaling import Scaling, scaled
from manyheads.data.series.splits import Windows
from manyheads.data.series.step import Step

CELLS = 2**21  # of a block: 8 MiB of float32, which stays in the caches of a core better than more


class Block(NamedTuple):
    """Windows as arrays: scaled, 0 where a value is missing and not seen."""

    history: Float[np.ndarray, "b l c"]
    future: Float[np.ndarray, "b h c"]
    history_seen: Bool[np.ndarray, "b l c"]
    future_seen: Bool[np.ndarray, "b h c"]


class Store:
    """All series one after the other, scaled, in float32: values (n, c), NaN where missing, and known (n, f).

    begins: the row at which each series begins. rows: which of the scaling's series each is.
    """

    def __init__(self, series: list[Series], scaling: Scaling, with_calendar: bool):
        step = Step.read(scaling.step) if with_calendar and scaling.step else None
        parts = [scaled(scaling, one) for one in series]
        lengths = np.array([len(one) for one in series])
        self.begins = np.cumsum(lengths) - lengths
        self.rows = np.array([scaling.row(one) for one in series])
        self.dates = [one.dates for one in series]
        self.values = np.concatenate([values for values, _ in parts])
        self.known = np.concatenate([_covariates(part[1], one, step) for part, one in zip(parts, series, strict=True)])

    def of(self, place: int, rows: int) -> Float[np.ndarray, "t c"]:
        """The first rows of one series."""
        begin = self.begins[place]
        return self.values[begin : begin + rows]


def _covariates(known: np.ndarray, series: Series, step: Step | None) -> Float[np.ndarray, "t f"]:
    """The user's columns, a missing value being the last one before it (or else their mean), then the calendar's."""
    whole = np.nan_to_num(fill(known[None], "ffill")[0])
    if not features(step):
        return whole
    return np.concatenate([whole, calendar(step, series.dates).astype(np.float32)], 1)


class SeriesRows(Dataset):
    """The windows of a split. `rows[[3, 1, 4]]` is a SeriesBatch of these windows, in this order.

    series: (n,) place in the store of the series that each window is of. starts: (n,) its first row in that series.
    """

    def __init__(self, store: Store, series: np.ndarray, starts: np.ndarray, windows: Windows, missing: Missing):
        self.store, self.windows, self.missing = store, windows, missing
        self.series, self.starts = series, starts
        self._begins = store.begins[series] + starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: int | Sequence[int]) -> SeriesBatch:
        index = np.atleast_1d(np.asarray(rows, np.int64))
        block, known = self.block(index), self._cut(self.store.known, index)
        return SeriesBatch(
            index=torch.from_numpy(index),
            tokens=block.history.size,
            **{name: torch.from_numpy(part) for name, part in block._asdict().items()},
            history_known=torch.from_numpy(known[:, : self.windows.history]),
            future_known=torch.from_numpy(known[:, self.windows.history :]),
            series=torch.from_numpy(self.store.rows[self.series[index]]),
        )

    def __getitems__(self, rows: Sequence[int]) -> SeriesBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]

    def dates(self, row: int) -> list[str] | None:
        """Of the steps of a window's horizon; None where the data has none."""
        dates, begin = self.store.dates[self.series[row]], self.starts[row] + self.windows.history
        return None if dates is None else written(dates[begin : begin + self.windows.horizon])

    def within(self, index: Int[np.ndarray, "b"]) -> Int[np.ndarray, "b"]:
        """How many windows of its own series come before each window; rows are in the order of their series."""
        return index - np.searchsorted(self.series, self.series[index])

    @property
    def spans(self) -> tuple[int, int]:
        """Steps given and asked for."""
        return self.windows.history, self.windows.horizon

    @property
    def lengths(self) -> Int[np.ndarray, "n 1"]:
        """What a window costs in a batch: one."""
        return np.ones((len(self), 1), np.int64)

    def block(self, index: Int[np.ndarray, "b"]) -> Block:
        """Histories are filled as `missing` says; horizons never, so that no made-up value counts as truth."""
        values = self._cut(self.store.values, index)
        history, future = values[:, : self.windows.history], values[:, self.windows.history :]
        parts = fill(history, self.missing), future
        seen = [~np.isnan(part) for part in parts]
        values = [part if real.all() else np.where(real, part, 0) for real, part in zip(seen, parts, strict=True)]
        return Block(*values, *seen)

    def arrays(self) -> Iterator[Block]:
        """All windows, in order, in blocks of about CELLS values."""
        size = max(1, CELLS // (sum(self.spans) * self.store.values.shape[1]))
        for first in range(0, len(self), size):
            yield self.block(np.arange(first, min(first + size, len(self))))

    def _cut(self, column: Float[np.ndarray, "n k"], index: np.ndarray) -> Float[np.ndarray, "b t k"]:
        # The view holds every run of rows without copying any; it is made anew, since a worker's copy would be of all.
        return sliding_window_view(column, sum(self.spans), axis=0).swapaxes(1, 2)[self._begins[index]]
