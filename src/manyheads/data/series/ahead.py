"""What comes after a file ends: the last steps of each series as a history, and the dates of the horizon."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from manyheads.data.series.batch import SeriesBatch
from manyheads.data.series.dates import written
from manyheads.data.series.missing import Missing
from manyheads.data.series.read import Panel, Series
from manyheads.data.series.scaling import Scaling
from manyheads.data.series.splits import Windows
from manyheads.data.series.windows import SeriesRows, Store
from manyheads.errors import UserError


@dataclass(frozen=True)
class Ahead:
    """batch: one window, of whose future nothing is seen. dates: of the horizon's steps; row numbers without dates."""

    series: str
    batch: SeriesBatch
    dates: tuple[str, ...]


def ahead(panel: Panel, scaling: Scaling, windows: Windows, missing: Missing, with_calendar: bool) -> Iterator[Ahead]:
    """One for each series. A series ends at its last row with a value to forecast: rows after it, in which only the
    known columns are filled in, belong to the horizon. Raises UserError where a series is too short for a history, or
    a known column is empty at a step of the horizon: of any series, before the first one is given.
    """
    parts = [_extended(series, panel, windows) for series in panel.series]
    return (_cut(*part, Store([part[0]], scaling, with_calendar), windows, missing) for part in parts)


def _cut(series: Series, end: int, store: Store, windows: Windows, missing: Missing) -> Ahead:
    rows = SeriesRows(store, np.zeros(1, np.int64), np.array([end - windows.history]), windows, missing)
    return Ahead(series.name, rows[[0]], _dates(series, end))


def _extended(series: Series, panel: Panel, windows: Windows) -> tuple[Series, int]:
    """The series up to the end of the horizon, and the row at which the horizon begins."""
    end = 1 + int(np.flatnonzero(~np.isnan(series.values).all(1))[-1:].sum())
    if end < windows.history or np.isnan(series.values).all():
        raise UserError(
            f"{series.file}: series {series.name} has {end:,} rows, and the model reads the last {windows.history:,}; "
            "bring a longer file."
        )
    rows = end + windows.horizon
    values, known = _resized(series.values, rows), _resized(series.known, rows)
    dates = None
    if series.dates is not None and panel.step is not None:
        dates = panel.step.dates(series.dates[0], np.arange(rows))
    extended = replace(series, values=values, known=known, dates=dates)
    _refuse_unknown_future(extended, panel.known, end)
    return extended, end


def _refuse_unknown_future(series: Series, names: tuple[str, ...], end: int) -> None:
    """What is empty in the horizon, which begins at row `end`, would be carried on from the history."""
    empty = np.isnan(series.known[end:])
    if empty.any():
        step, column = np.argwhere(empty)[0]
        place = ("row " if series.dates is None else "") + _dates(series, end)[step]
        raise UserError(
            f"{series.file}: series {series.name} gives {', '.join(names)} for {(~empty.any(1)).sum():,} of the "
            f"{len(empty):,} steps to forecast (the first empty: {names[column]} of {place}); bring a row for each, "
            "with these columns filled in and the others empty."
        )


def _resized(values: np.ndarray, rows: int) -> np.ndarray:
    """Cut off or made longer by rows of NaN."""
    short = max(0, rows - len(values))
    return np.concatenate([values[:rows], np.full((short, values.shape[1]), np.nan)])


def _dates(series: Series, end: int) -> tuple[str, ...]:
    if series.dates is None:
        return tuple(str(row + 1) for row in range(end, len(series)))
    return tuple(written(series.dates[end:]))
