"""What a date says of itself, each feature scaled to [-0.5, 0.5]; the features of GluonTS and of Informer's `timeF`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from manyheads.data.series.step import BUSINESS, DAY, FIXED, Dates, Step


def features(step: Step | None) -> tuple[str, ...]:
    """Names of those that make sense: none that stays the same, or runs through a single value, at this step."""
    if step is None or step.unit == "year":
        return ()
    if step.unit == "month":
        return ("month",)
    if step.unit == BUSINESS:
        return ("day of week", "day of month", "day of year")
    if step.fixed >= 7 * DAY:
        return ("day of month", "week")
    fine = [name for name, above in FINER.items() if step.fixed < above]
    return (*fine, "day of week", "day of month", "day of year")


def calendar(step: Step | None, dates: Dates) -> Float[np.ndarray, "t f"]:
    """The columns that `features(step)` names."""
    columns = [PARTS[name](dates) / LARGEST[name] - 0.5 for name in features(step)]
    return np.stack(columns, 1) if columns else np.zeros((len(dates), 0))


FINER = {"second": FIXED["minute"], "minute": FIXED["hour"], "hour": DAY}
LARGEST = {
    "second": 59, "minute": 59, "hour": 23, "day of week": 6, "day of month": 30, "day of year": 365, "week": 52,
    "month": 11,
}  # fmt: skip


def _since(unit: str, of: str) -> Callable[[Dates], np.ndarray]:
    """Whole units since the beginning of the larger one that a date lies in, from 0."""
    whole, part = f"datetime64[{of}]", f"datetime64[{unit}]"
    return lambda dates: (dates.astype(part) - dates.astype(whole).astype(part)).astype(np.int64)


def _weekday(dates: Dates) -> np.ndarray:
    # 1970-01-01 was a Thursday, and Monday is 0.
    return (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7


def _week(dates: Dates) -> np.ndarray:
    """ISO week - 1: that of the week's Thursday."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    thursday = (days - _weekday(dates) + 3).astype("datetime64[D]")
    return _since("D", "Y")(thursday) // 7


PARTS = {
    "second": _since("s", "m"),
    "minute": _since("m", "h"),
    "hour": _since("h", "D"),
    "day of week": _weekday,
    "day of month": _since("D", "M"),
    "day of year": _since("D", "Y"),
    "week": _week,
    "month": _since("M", "Y"),
}
