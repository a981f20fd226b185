"""Pictures of forecasts: single windows with their bands, and the error by step of the horizon."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

MOST = 4
"""Channels of a window that are drawn; more would be too small to be read."""


@dataclass(frozen=True)
class Window:
    """One window in real units, NaN where a value is missing. name: such as `typical`. error: its MSE, scaled."""

    name: str
    error: float
    history: Float[np.ndarray, "l c"]
    truth: Float[np.ndarray, "h c"]
    forecast: Float[np.ndarray, "h c q"]


def windows_figure(windows: list[Window], channels: tuple[str, ...], middle: int) -> Any:
    """A column for each window, a row for each channel; of the history, twice the horizon at most."""
    from matplotlib.figure import Figure

    rows = min(len(channels), MOST)
    figure = Figure(figsize=(6.5 * len(windows), 1.2 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, len(windows), squeeze=False, sharex=True, sharey="row")
    for column, window in enumerate(windows):
        axes[0][column].set_title(f"{window.name} window, MSE {window.error:.3f}")
        axes[-1][column].set_xlabel("steps from the end of the history")
        for row in range(rows):
            _draw(axes[row][column], window, row, middle)
    for row in range(rows):
        axes[row][0].set_ylabel(channels[row])
    axes[0][0].legend(loc="upper left", fontsize="small")
    if len(channels) > rows:
        figure.supxlabel(f"{rows} of {len(channels)} channels", fontsize="small")
    return figure


def _draw(axis: Any, window: Window, channel: int, middle: int) -> None:
    horizon, quantiles = len(window.truth), window.forecast.shape[2]
    past = window.history[-2 * horizon :, channel]
    ahead = np.arange(1, horizon + 1)
    axis.plot(np.arange(1 - len(past), 1), past, color="0.6", linewidth=0.9, label="history")
    axis.plot(ahead, window.truth[:, channel], color="0.15", linewidth=1.1, label="truth")
    # Outer bands below inner ones: each pair of quantiles makes what lies between them darker.
    for low in range(quantiles // 2):
        band = window.forecast[:, channel, [low, quantiles - 1 - low]].T
        axis.fill_between(ahead, *band, color="tab:blue", alpha=0.6 / (quantiles // 2 + 1), linewidth=0)
    axis.plot(ahead, window.forecast[:, channel, middle], color="tab:blue", linewidth=1.2, label="forecast")
    axis.axvline(0.5, color="0.8", linewidth=0.8)


def steps_figure(curves: dict[str, list[float]], title: str) -> Any:
    """A panel for each score, by step of the horizon."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(curves), 3.2), layout="constrained")
    for axis, (name, values) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axis.plot(np.arange(1, len(values) + 1), values, color="tab:blue")
        axis.set_ylabel(name)
        axis.set_xlabel("step of the horizon")
        axis.set_ylim(bottom=0)
    figure.suptitle(title)
    return figure
