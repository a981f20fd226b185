"""Where the training, validation and test parts of a series begin, and the windows that each has."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from manyheads.data.series.dates import shown
from manyheads.data.series.read import Panel, Series
from manyheads.data.series.step import DAY, Step
from manyheads.errors import UserError

Split = Literal["ett", "ratio", "dates"]
MONTH = 30 * DAY  # of the ETT papers
ETT = (12, 16, 20)  # months at which the three parts end; what follows is not used


@dataclass(frozen=True)
class Cut:
    """Keys as in conf/data/timeseries.yaml."""

    split: Split
    ratio: tuple[float, ...]
    val_from: str | None
    test_from: str | None


@dataclass(frozen=True)
class Borders:
    """Rows at which the training, validation and test parts end; each but the first begins where the last one ends."""

    train: int
    val: int
    test: int

    def part(self, split: str) -> tuple[int, int]:
        return {"train": (0, self.train), "val": (self.train, self.val), "test": (self.val, self.test)}[split]


@dataclass(frozen=True)
class Windows:
    """The shape of a window: `every` steps from one of the training windows to the next."""

    history: int
    horizon: int
    every: int


def borders(series: Series, step: Step | None, cut: Cut) -> Borders:
    """Raises UserError where the series has not what the split needs."""
    if cut.split == "ratio":
        return _by_ratio(len(series), cut.ratio)
    if series.dates is None or step is None:
        raise UserError(f"data.split={cut.split} needs dates, and {series.file} has none; take data.split=ratio.")
    return _of_ett(series, step) if cut.split == "ett" else _by_dates(series, cut)


def starts(part: Borders, windows: Windows, split: str) -> Int[np.ndarray, "n"]:
    """First rows of all windows whose horizon lies in a part: histories of val and test reach back before it."""
    begin, end = part.part(split)
    first = 0 if split == "train" else begin - windows.history
    return np.arange(first, end - windows.history - windows.horizon + 1, windows.every if split == "train" else 1)


def too_short(series: Series, part: Borders, windows: Windows) -> str | None:
    """Why a series cannot be cut into windows, in one sentence; None where it can."""
    needed = windows.history + windows.horizon
    if part.train < needed:
        return (
            f"{series.file}: the training part of series {series.name} has {part.train:,} of {len(series):,} rows, "
            f"but data.history={windows.history} and data.horizon={windows.horizon} need {needed:,}; shorten them."
        )
    rows = {split: end - begin for split in ("val", "test") for begin, end in [part.part(split)]}
    short = {split: count for split, count in rows.items() if count < windows.horizon}
    if short:
        parts = " and ".join(f"the {split} part has {count:,}" for split, count in short.items())
        return (
            f"{series.file}: of the {len(series):,} rows of series {series.name} {parts}, fewer than "
            f"data.horizon={windows.horizon}; shorten the horizon, or share the rows out in another way "
            "(data.ratio, or data.split=dates)."
        )
    return None


def refuse_ratio(cut: Cut) -> None:
    """Raises UserError for shares that are none."""
    fits = len(cut.ratio) == 3 and all(share > 0 for share in cut.ratio) and abs(sum(cut.ratio) - 1) < 1e-6
    if cut.split == "ratio" and not fits:
        raise UserError(f"data.ratio={list(cut.ratio)} is not three shares above 0 (train, val, test) that sum to 1.")


def _by_ratio(rows: int, ratio: tuple[float, ...]) -> Borders:
    """Train and test are rounded down, as the literature does; val has the rest."""
    train, test = int(rows * ratio[0]), int(rows * ratio[2])
    return Borders(train, rows - test, rows)


def _of_ett(series: Series, step: Step) -> Borders:
    if step.fixed is None or MONTH % step.fixed:
        raise UserError(f"data.split=ett counts months of 30 days, of which a step of {step} is no part; take ratio.")
    ends = [months * MONTH // step.fixed for months in ETT]
    if len(series) < ends[-1]:
        raise UserError(
            f"data.split=ett needs {ends[-1]:,} rows (20 months), and series {series.name} of {series.file} has "
            f"{len(series):,}; take data.split=ratio."
        )
    return Borders(*ends)


def _by_dates(series: Series, cut: Cut) -> Borders:
    days = [_date(key, getattr(cut, key)) for key in ("val_from", "test_from")]
    if days[0] >= days[1]:
        raise UserError(f"data.val_from={cut.val_from} has to come before data.test_from={cut.test_from}.")
    begins = [int(np.searchsorted(series.dates, day)) for day in days]
    if not 0 < begins[0] < begins[1] < len(series):
        raise UserError(
            f"data.val_from={cut.val_from} and data.test_from={cut.test_from} leave a part empty: series {series.name} "
            f"of {series.file} runs from {shown(series.dates[0])} to {shown(series.dates[-1])}."
        )
    return Borders(*begins, len(series))


def _date(key: str, text: str | None) -> np.datetime64:
    if text is None:
        raise UserError(f"data.split=dates needs data.{key}, the first date of that part, such as 2013-10-01.")
    try:
        return np.datetime64(str(text).replace(" ", "T"), "us")
    except ValueError as problem:
        raise UserError(f"data.{key}={text} is no date; write it as 2013-10-01 or '2013-10-01 12:00'.") from problem


def sift_series(panel: Panel, cut: Cut, windows: Windows) -> tuple[list[tuple[Series, Borders]], list[str]]:
    """The series that windows can be cut from, each with its borders, and why the others cannot."""
    refuse_ratio(cut)
    parts = [(series, borders(series, panel.step, cut)) for series in panel.series]
    reasons = [too_short(series, part, windows) for series, part in parts]
    good = [pair for pair, reason in zip(parts, reasons, strict=True) if reason is None]
    return good, [reason for reason in reasons if reason is not None]
