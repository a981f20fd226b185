"""The time from one row to the next: how it is told from dates, and how dates and row numbers become each other.

Months and business days are no fixed number of seconds, so each has arithmetic of its own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

Dates = np.ndarray  # datetime64[us], (t,)

SECOND = 1_000_000
DAY = 86_400 * SECOND
FIXED = {"week": 7 * DAY, "day": DAY, "hour": 3_600 * SECOND, "minute": 60 * SECOND, "second": SECOND, "microsecond": 1}
MONTHS = {"year": 12, "month": 1}
BUSINESS = "business day"


@dataclass(frozen=True)
class Step:
    """`size` times a unit: 15 minutes, 1 month, 1 business day. `str` of it is what `Step.read` reads."""

    size: int
    unit: str

    def __str__(self) -> str:
        return f"{self.size} {self.unit}{'s' if self.size > 1 else ''}"

    @staticmethod
    def read(text: str) -> "Step":
        size, unit = text.split(" ", 1)
        return Step(int(size), unit.removesuffix("s"))

    @property
    def fixed(self) -> int | None:
        """Microseconds; None where a step has no fixed length."""
        return self.size * FIXED[self.unit] if self.unit in FIXED else None

    @property
    def season(self) -> int:
        """Steps after which a series is likely to repeat itself: a day, a week of days, a year of weeks or months."""
        if self.unit in MONTHS:
            return max(1, 12 // (self.size * MONTHS[self.unit]))
        if self.unit == BUSINESS:
            return 5
        if self.fixed < DAY:
            # A day of seconds would be 86,400 steps; an hour is what a window can hold.
            whole = DAY if self.fixed >= FIXED["minute"] else FIXED["hour"]
            return whole // self.fixed if whole % self.fixed == 0 else 1
        return {DAY: 7, 7 * DAY: 52}.get(self.fixed, 1)

    def count(self, dates: Dates) -> tuple[Int[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
        """Steps from the first date to each, and which dates lie on a step."""
        if self.unit in MONTHS:
            months = _months(dates)
            places, rest = np.divmod(months - months[0], self.size * MONTHS[self.unit])
            return places, rest == 0
        if self.unit == BUSINESS:
            days = dates.astype("datetime64[D]")
            return np.busday_count(days[0], days), np.is_busday(days) & (dates - days == dates[0] - days[0])
        places, rest = np.divmod((dates - dates[0]).astype(np.int64), self.fixed)
        return places, rest == 0

    def dates(self, first: np.datetime64, places: Int[np.ndarray, "t"]) -> Dates:
        """The dates so many steps from the first one on, which may itself be anywhere in its month."""
        if self.unit in MONTHS:
            return _month_later(first, places * self.size * MONTHS[self.unit])
        if self.unit == BUSINESS:
            day = first.astype("datetime64[D]")
            return np.busday_offset(day, places).astype("datetime64[us]") + (first - day)
        return first + (places * self.fixed).astype("timedelta64[us]")


def infer(runs: list[Dates]) -> Step | None:
    """The step that most neighbouring rows are apart; None where no series has two rows."""
    gaps = [np.diff(dates).astype(np.int64) for dates in runs if len(dates) > 1]
    if not gaps:
        return None
    sizes, counts = np.unique(np.concatenate(gaps), return_counts=True)
    most = int(sizes[counts.argmax()])
    if most >= 28 * DAY and all(map(_same_day, runs)):
        return _of_months(runs)
    if most == DAY and _no_weekends(runs, sizes):
        return Step(1, BUSINESS)
    return _of_microseconds(most)


def _of_microseconds(size: int) -> Step:
    unit = next(unit for unit, length in FIXED.items() if size % length == 0)
    return Step(size // FIXED[unit], unit)


def _of_months(runs: list[Dates]) -> Step:
    sizes, counts = np.unique(np.concatenate([np.diff(_months(dates)) for dates in runs]), return_counts=True)
    size = int(sizes[counts.argmax()])
    return Step(size // 12, "year") if size % 12 == 0 else Step(size, "month")


def _months(dates: Dates) -> Int[np.ndarray, "t"]:
    return dates.astype("datetime64[M]").astype(np.int64)


def _days_of_month(dates: Dates) -> Int[np.ndarray, "t"]:
    return (dates.astype("datetime64[D]") - dates.astype("datetime64[M]")).astype(np.int64) + 1


def _last_days(months: np.ndarray) -> Int[np.ndarray, "t"]:
    return _days_of_month((months + 1).astype("datetime64[D]") - 1)


def _same_day(dates: Dates) -> bool:
    """Each on the same day of its month, or on the last one where the month is too short for it."""
    days = _days_of_month(dates)
    return bool((days == np.minimum(days.max(initial=1), _last_days(dates.astype("datetime64[M]")))).all())


def _no_weekends(runs: list[Dates], sizes: np.ndarray) -> bool:
    weekday = all(np.is_busday(dates.astype("datetime64[D]")).all() for dates in runs)
    return weekday and 3 * DAY in sizes


def _month_later(first: np.datetime64, months: Int[np.ndarray, "t"]) -> Dates:
    """The same day of later months; the last day of a month stays the last."""
    begin, time = first.astype("datetime64[M]"), first - first.astype("datetime64[D]")
    goals = begin + months.astype("timedelta64[M]")
    day = int(_days_of_month(np.array([first]))[0])
    wanted = 31 if day == _last_days(np.array([begin]))[0] else day
    days = np.minimum(wanted, _last_days(goals))
    return goals.astype("datetime64[us]") + (days - 1).astype("timedelta64[D]") + time
