"""Means and deviations of the training part, by which all parts are scaled and forecasts come back to their units.

`scaling.json`, by `Scaling.save`:

    series, channels, known   names: of series, of columns that are forecast, of the user's columns known of the future
    mean, std                 [series][channel], of the training part (population deviation, missing values left out)
    known_mean, known_std     [series][known]
    error                     [series][channel], mean absolute step of a season in the training part, in real units:
                              what MASE divides by; null where the part has no two values a season apart
    step                      such as "1 hour"; null where the data has no dates
    season                    steps
"""

import json
import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads import atomic
from manyheads.data.series.read import Series
from manyheads.errors import UserError

log = logging.getLogger(__name__)

FILE = "scaling.json"


@dataclass(frozen=True)
class Scaling:
    """Keys as above; arrays are float64."""

    series: tuple[str, ...]
    channels: tuple[str, ...]
    known: tuple[str, ...]
    mean: Float[np.ndarray, "s c"]
    std: Float[np.ndarray, "s c"]
    known_mean: Float[np.ndarray, "s k"]
    known_std: Float[np.ndarray, "s k"]
    error: Float[np.ndarray, "s c"]
    step: str | None
    season: int

    def undo(
        self, values: Float[Tensor | np.ndarray, "b h c *q"], series: Int[Tensor | np.ndarray, "b"]
    ) -> Float[Tensor | np.ndarray, "b h c *q"]:
        """Scaled forecasts in the units of the data; what comes in as a tensor or array goes out as one."""
        mean, std = (self._of(table, values, series) for table in (self.mean, self.std))
        return values * std + mean

    def row(self, series: Series) -> int:
        """Which of the training's series this is. Where there is one alone, it goes by any name."""
        if len(self.series) == 1:
            return 0
        if series.name not in self.series:
            raise UserError(
                f"{series.file}: the model was not trained on a series {series.name}, so its scale is unknown; it "
                f"knows {', '.join(self.series[:12])}{', …' if len(self.series) > 12 else ''}."
            )
        return self.series.index(series.name)

    def save(self, folder: Path) -> None:
        content = {name: _plain(value) for name, value in asdict(self).items()}
        atomic.write_text(folder / FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @staticmethod
    def load(folder: Path) -> "Scaling":
        """Raises UserError where the file is missing or damaged."""
        path = folder / FILE
        try:
            content = json.loads(path.read_text("utf-8"))
            return Scaling(**{field.name: _restored(field.name, content) for field in fields(Scaling)})
        except FileNotFoundError as problem:
            raise UserError(f"{folder} has no {FILE}, which a run on time series writes as it begins.") from problem
        except (ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{path} is damaged ({problem}); a run writes it as it begins.") from problem

    def _of(self, table: np.ndarray, values: Tensor | np.ndarray, series: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """(b, 1, c, 1…), of the kind that `values` are."""
        if isinstance(values, Tensor):
            rows = torch.as_tensor(table, dtype=values.dtype, device=values.device)[series.to(values.device)]
        else:
            rows = table[np.asarray(series)]
        return rows.reshape(len(rows), 1, -1, *(1 for _ in values.shape[3:]))


def fit(
    parts: list[tuple[Series, int]], channels: tuple[str, ...], known: tuple[str, ...], step: str | None, season: int
) -> Scaling:
    """Of each series and the number of rows of its training part: no other row is looked at."""
    values = [_moments(series, series.values[:rows], channels) for series, rows in parts]
    given = [_moments(series, series.known[:rows], known) for series, rows in parts]
    errors = [_seasonal_error(series.values[:rows], season) for series, rows in parts]
    _warn_of_constants([series.name for series, _ in parts], channels, np.stack([std for _, std in values]))
    mean, std = (np.stack(side) for side in zip(*values, strict=True))
    known_mean, known_std = (np.stack(side) for side in zip(*given, strict=True))
    names = tuple(series.name for series, _ in parts)
    return Scaling(
        names, channels, known, mean, _nonzero(std), known_mean, _nonzero(known_std), np.stack(errors), step, season
    )


def scaled(scaling: Scaling, series: Series) -> tuple[Float[np.ndarray, "t c"], Float[np.ndarray, "t k"]]:
    """float32 values, NaN where missing, and known columns, where a missing value is the last one before it."""
    row = scaling.row(series)
    values = (series.values - scaling.mean[row]) / scaling.std[row]
    known = (series.known - scaling.known_mean[row]) / scaling.known_std[row]
    return values.astype(np.float32), known.astype(np.float32)


def _moments(series: Series, part: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    empty = np.flatnonzero(np.isnan(part).all(0))
    if len(empty):
        raise UserError(
            f"{series.file}: {names[empty[0]]} has no value in the training part of series {series.name}; leave the "
            "column out, or split elsewhere."
        )
    mean, std = np.nanmean(part, 0), np.nanstd(part, 0)
    # Sums of equal numbers leave a rest.
    return mean, np.where(std <= 1e-12 * np.abs(mean), 0.0, std)


def _nonzero(std: np.ndarray) -> np.ndarray:
    return np.where(std == 0, 1.0, std)


def _seasonal_error(part: np.ndarray, season: int) -> np.ndarray:
    steps = np.abs(part[season:] - part[:-season])
    seen = ~np.isnan(steps)
    total = np.where(seen, steps, 0).sum(0)
    return np.divide(total, seen.sum(0), out=np.full(part.shape[1], np.nan), where=seen.any(0))


def _warn_of_constants(series: list[str], channels: tuple[str, ...], std: np.ndarray) -> None:
    for column in np.flatnonzero((std == 0).any(0)):
        names = [series[row] for row in np.flatnonzero(std[:, column] == 0)]
        log.warning(
            "%s never changes in the training part of %s: its deviation is taken as 1.",
            channels[column], f"series {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
        )  # fmt: skip


def _plain(value):
    if not isinstance(value, np.ndarray):
        return value
    return [[None if np.isnan(cell) else cell for cell in row] for row in value.tolist()]


def _restored(name: str, content: dict):
    value = content[name]
    if name in ("series", "channels", "known"):
        return tuple(value)
    if name in ("step", "season"):
        return value
    rows = np.array([[np.nan if cell is None else cell for cell in row] for row in value], np.float64)
    return rows.reshape(len(content["series"]), -1)
