"""The horizon after the end of each series of a table, in the units of the table: lines of CSV."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from manyheads.analysis.page import Pass
from manyheads.load import Loaded
from manyheads.predictions.asked import Predict

CHANNELS = 4
"""Of a series, whose attention is shown."""


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    """A row for each series, date and channel: the forecast, and its quantiles where the model gives any."""
    quantiles, coming = run.spec.quantiles, run.data.future_of(asked.input)
    yield _line(["series", "date", "channel", *([f"q{q:g}" for q in quantiles] or ["forecast"])])
    device = next(run.model.parameters()).device
    for ahead in coming:
        with torch.inference_mode():
            scaled = run.model(ahead.batch.to(device)).cpu()
        values = run.data.scaling.undo(scaled, ahead.batch.series)[0].tolist()
        for date, row in zip(ahead.dates, values, strict=True):
            for channel, found in zip(run.data.scaling.channels, row, strict=True):
                yield _line([ahead.series, date, channel, *(f"{value:.6g}" for value in found)])


def passes(asked: Predict, run: Loaded) -> Iterator[Pass]:
    """The channels of each series, which the model reads one by one."""
    device = next(run.model.parameters()).device
    for ahead in run.data.future_of(asked.input):
        titles = [f"{ahead.series}, {channel}, before {ahead.dates[0]}" for channel in run.data.scaling.channels]
        yield Pass(titles[:CHANNELS], partial(run.model, ahead.batch.to(device)))


def _line(row: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()
