"""Forecasts that need no training run, in NumPy and double precision: the bar for every model.

- repeat_last: the last value, for ever.
- seasonal_naive: the last season, over and over; not there where a season is longer than the history.
- linear: one affine map from history to horizon for all channels, on windows from which their last value is taken
  away: NLinear (Zeng et al. 2023, arXiv:2205.13504), solved as ridge regression on the training part in place of
  gradient descent, with a ridge fixed in advance.

Values that are missing are carried on from the last one seen, in histories and, to fit the map, in horizons; none of
them counts in a score.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

RIDGE = 1e-3

Forecast = Callable[[Float[np.ndarray, "b l c"], Bool[np.ndarray, "b l c"]], Float[np.ndarray, "b h c"]]
"""(history, history_seen) -> the horizon of each window, float64."""

Block = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""history (b, l, c), future (b, h, c), and which of their values are seen."""


class SeriesWindows(Protocol):
    """What `TimeSeriesData.windows(split)` gives."""

    spans: tuple[int, int]  # history, horizon

    def arrays(self) -> Iterable[Block]: ...


def baselines(train: SeriesWindows, test: SeriesWindows, season: int) -> dict[str, dict[str, float]]:
    """name -> mse and mae over all seen values of all test windows, on the scale in which the windows are."""
    return {name: score(forecast, test) for name, forecast in forecasters(train, season).items()}


def forecasters(train: SeriesWindows, season: int) -> dict[str, Forecast]:
    """The baselines by name, ready to forecast; the linear one is fitted here, on `train` alone."""
    return naive(*train.spans, season) | {"linear": linear(train)}


def naive(history: int, horizon: int, season: int) -> dict[str, Forecast]:
    """Those that need no training part."""
    made = {"repeat_last": repeat_last(horizon)}
    return made | ({"seasonal_naive": seasonal_naive(horizon, season)} if season <= history else {})


def score(forecast: Forecast, test: SeriesWindows) -> dict[str, float]:
    """Means over values, not over windows or blocks; NaN where no value is seen."""
    squares = absolutes = count = 0.0
    for history, future, history_seen, future_seen in test.arrays():
        error = np.where(future_seen, forecast(history, history_seen) - future, 0)
        squares, absolutes = squares + np.square(error).sum(), absolutes + np.abs(error).sum()
        count += future_seen.sum()
    return {"mse": float(squares / count), "mae": float(absolutes / count)} if count else {"mse": np.nan, "mae": np.nan}


def repeat_last(horizon: int) -> Forecast:
    return lambda history, seen: np.repeat(_whole(history, seen)[:, -1:], horizon, axis=1)


def seasonal_naive(horizon: int, season: int) -> Forecast:
    places = np.arange(horizon) % season - season
    return lambda history, seen: _whole(history, seen)[:, places]


def linear(train: SeriesWindows) -> Forecast:
    weights = ridge(train)
    return lambda past, seen: _mapped(_whole(past, seen), weights)


def ridge(train: SeriesWindows, bias: bool = True) -> Float[np.ndarray, "l_and_bias h"]:
    """Solves (XᵀX + ridge) W = XᵀY, X (windows · channels, l + 1) and Y (windows · channels, h), summed in blocks."""
    history, horizon = train.spans
    gram, cross = np.zeros((history + 1, history + 1)), np.zeros((history + 1, horizon))
    for inputs, targets in _flat(train):
        gram += inputs.T @ inputs
        cross += inputs.T @ targets
    of = history + bias
    return np.linalg.solve(gram[:of, :of] + RIDGE * np.eye(of), cross[:of])


def _mapped(history: np.ndarray, weights: Float[np.ndarray, "l+1 h"]) -> Float[np.ndarray, "b h c"]:
    last = history[:, -1:]
    rows = (history - last).swapaxes(1, 2)
    return (rows @ weights[:-1] + weights[-1]).swapaxes(1, 2) + last


def _flat(train: SeriesWindows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every channel of every window is a row, from which its last value is taken away on both sides; behind its
    history stands a 1, for the bias.
    """
    for history, future, history_seen, future_seen in train.arrays():
        both = np.concatenate([history, future], 1), np.concatenate([history_seen, future_seen], 1)
        steps, length = _whole(*both).swapaxes(1, 2), history.shape[1]
        rows = (steps - steps[..., length - 1 : length]).reshape(-1, steps.shape[2])
        yield np.pad(rows[:, :length], ((0, 0), (0, 1)), constant_values=1), rows[:, length:]


def _whole(values: np.ndarray, seen: np.ndarray) -> Float[np.ndarray, "b t c"]:
    """With the last value seen where one is missing; the first one before that, and 0 where a window has seen none."""
    values = np.where(seen, values, 0).astype(np.float64)
    gaps = ~seen.all((1, 2))
    if gaps.any():
        values[gaps] = _carried(values[gaps], seen[gaps])
    return values


def _carried(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    last = np.maximum.accumulate(np.where(seen, np.arange(seen.shape[1])[:, None], -1), axis=1)
    first = seen.argmax(1)[:, None]
    return np.take_along_axis(values, np.where(last < 0, first, last), axis=1)
