"""What stands in for values that are missing: looked for within a window, so that nothing of the future gets in."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from manyheads.errors import UserError

Missing = Literal["mask", "ffill", "interpolate", "refuse"]


def fill(values: Float[np.ndarray, "b t c"], how: Missing) -> Float[np.ndarray, "b t c"]:
    """Windows whose NaN are filled where they can be, each channel from its own values in the window.

    mask, refuse: as they are. ffill: by the last value before. interpolate: on the line between the values on both
    sides, and at the end, where there is none on the other, by the last one.
    """
    if how not in ("ffill", "interpolate") or not np.isnan(values).any():
        return values
    before = _last(~np.isnan(values))
    filled = _taken(values, before)
    return filled if how == "ffill" else _between(values, filled, before)


def refuse_missing(values: Float[np.ndarray, "t c"], names: tuple[str, ...], place) -> None:
    """Raises UserError at the first missing value; `place(row)` names a row."""
    rows, columns = np.nonzero(np.isnan(values))
    if len(rows):
        raise UserError(
            f"{place(rows[0])}: {names[columns[0]]} is missing (the first of {len(rows):,} such values); fill them in, "
            "or set data.missing to mask, ffill or interpolate."
        )


def _last(seen: np.ndarray) -> np.ndarray:
    """Place of the last value seen up to each; -1 where there is none."""
    places = np.where(seen, np.arange(seen.shape[1])[:, None], -1)
    return np.maximum.accumulate(places, axis=1)


def _taken(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    found = np.take_along_axis(values, np.maximum(places, 0), axis=1)
    return np.where(places < 0, np.nan, found).astype(values.dtype)


def _between(values: np.ndarray, left: np.ndarray, before: np.ndarray) -> np.ndarray:
    steps = values.shape[1]
    after = steps - 1 - _last(~np.isnan(values[:, ::-1]))[:, ::-1]
    right = _taken(values, np.where(after < steps, after, -1))
    places = np.arange(steps)[:, None]
    share = (places - before) / np.maximum(after - before, 1)
    line = left + (right - left) * share.astype(values.dtype)
    return np.where(np.isnan(values), np.where(np.isnan(right), left, line), values)
