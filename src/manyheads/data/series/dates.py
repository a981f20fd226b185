"""Which column holds the dates, and the dates out of it. Times with an offset become UTC; others stay as written."""

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from manyheads.data.series.step import Dates
from manyheads.errors import UserError

if TYPE_CHECKING:
    from manyheads.data.series.table import Table

NAMES = ("date", "datetime", "date_time", "timestamp", "time", "ds")
LOOKS = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T]\d.*)?")


def find_date(frame: pd.DataFrame, taken: set[str]) -> str | None:
    """A column of the type date; or of text called like one, or whose first cell looks like one."""
    free = [name for name in frame.columns if name not in taken]
    typed = [name for name in free if pd.api.types.is_datetime64_any_dtype(frame[name])]
    texts = [name for name in free if not pd.api.types.is_numeric_dtype(frame[name]) and name not in typed]
    named = [name for name in texts if name.lower() in NAMES]
    alike = [name for name in texts if LOOKS.fullmatch(str(frame[name].iloc[0]).strip())]
    return next(iter([*typed, *named, *alike]), None)


def parse_dates(table: "Table", name: str) -> Dates:
    """(t,) dates. Raises UserError with the line of the first cell that is none."""
    column = table.frame[name]
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype(str).str.strip()
    dates = _parsed(column)
    wrong = np.flatnonzero(dates.isna())
    if len(wrong):
        raise UserError(
            f"{table.where(wrong[0])}: {name} is {str(column.iloc[wrong[0]])!r}, no date in the form of those above it "
            f"(the first of {len(wrong):,} such rows); write all of them as 2013-12-31 or 2013-12-31 23:00, or set "
            "data.date."
        )
    return dates.dt.tz_localize(None).to_numpy("datetime64[us]")


def written(dates: Dates) -> list[str]:
    """All to the same digit, with no more digits than they take: 2013-12-31, or 2013-12-31 23:00."""
    unit = next((unit for unit in ("D", "m", "s") if (dates == dates.astype(f"datetime64[{unit}]")).all()), "us")
    return [text.replace("T", " ") for text in np.datetime_as_string(dates, unit=unit).tolist()]


def shown(date: np.datetime64) -> str:
    return written(np.array([date]))[0]


def _parsed(column: pd.Series) -> pd.Series:
    """ISO 8601 whatever its length; else one form for all, that of the first cell: a guess for each cell on its own
    would take 1/2 for January and 13/2 for February.
    """
    dates = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    if not dates.isna().any():
        return dates
    with warnings.catch_warnings():
        # That 20.01. was taken for the 20th of January, and that no form fits the first cell: it is then refused.
        warnings.simplefilter("ignore", UserWarning)
        return pd.to_datetime(column, errors="coerce", utc=True)
