"""forecasts.csv: what was forecast of the windows of a test part that do not overlap, in real units.

All windows would repeat every value a horizon of times: these say everything of the part but the last few
steps of each series.

    set, series, window   the test set, the name of the series, the row of the window in that set
    step, date, channel   step of the horizon, from 1; its date where the data has dates; the column that was forecast
    truth                 empty where the value is missing
    forecast, or q0.1 …   the point, or every quantile
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyheads.data.series.windows import SeriesRows

Kept = tuple[int, np.ndarray, np.ndarray]
"""Which series a window is of, its truth (h, c), NaN where missing, and its forecast (h, c, q)."""


def kept(batch: Any, forecast: Tensor, scaling: Any, rows: SeriesRows) -> dict[int, Kept]:
    """By row, those windows of a batch that begin where another one of their series ends: the first of each series, and
    from there on every one after a horizon's number of rows, which follow each other step by step.

    rows: the windows of the test set.
    """
    chosen = torch.from_numpy(rows.within(batch.index.cpu().numpy()) % forecast.size(1) == 0).to(batch.index.device)
    if not chosen.any():
        return {}
    series, seen = batch.series[chosen], batch.future_seen[chosen]
    truth = torch.where(seen, scaling.undo(batch.future[chosen], series), torch.nan)
    parts = (x.float().cpu().numpy() for x in (truth, scaling.undo(forecast[chosen], series)))
    return dict(zip(batch.index[chosen].tolist(), zip(series.tolist(), *parts, strict=True), strict=True))


def lines(split: str, found: dict[int, Kept], data: Any) -> Iterator[list[Any]]:
    """A line for each step and channel of each window; data: the data module."""
    for window, (series, truth, forecast) in sorted(found.items()):
        dates = data.dates(split, window) if hasattr(data, "dates") else None
        for step, channel in np.ndindex(truth.shape):
            place = [split, data.scaling.series[series], window, step + 1, dates[step] if dates else ""]
            values = (truth[step, channel], *forecast[step, channel])
            yield [*place, data.channels[channel], *map(_shown, values)]


def table(found: list[list[Any]], quantiles: tuple[float, ...]) -> str:
    """The file, with its header."""
    forecasts = [f"q{q:g}" for q in quantiles] or ["forecast"]
    header = ["set", "series", "window", "step", "date", "channel", "truth", *forecasts]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *found])
    return text.getvalue()


def _shown(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
