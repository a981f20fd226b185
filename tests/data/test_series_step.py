"""The step of dates, its arithmetic, and what the calendar says, beside pandas and plain definitions."""

import numpy as np
import pandas as pd
import pytest

from manyheads.data.series.calendar import calendar, features
from manyheads.data.series.dates import written
from manyheads.data.series.step import Step, infer


def days(frequency, first="2013-01-31", count=60):
    return pd.date_range(first, periods=count, freq=frequency).to_numpy("datetime64[us]").copy()


STEPS = [
    ("s", "1 second", 3600),
    ("10s", "10 seconds", 360),
    ("min", "1 minute", 1440),
    ("15min", "15 minutes", 96),
    ("h", "1 hour", 24),
    ("6h", "6 hours", 4),
    ("D", "1 day", 7),
    ("2D", "2 days", 1),
    ("B", "1 business day", 5),
    ("W", "1 week", 52),
    ("MS", "1 month", 12),
    ("ME", "1 month", 12),
    ("QS", "3 months", 4),
    ("YS", "1 year", 1),
    ("250us", "250 microseconds", 14_400_000),
]


@pytest.mark.parametrize(("frequency", "name", "season"), STEPS, ids=[step[0] for step in STEPS])
def test_a_step_is_told_counted_and_turned_back_into_dates(frequency, name, season):
    dates = days(frequency)
    step = infer([dates])
    assert (str(step), step.season) == (name, season)
    assert Step.read(name) == step
    places, fits = step.count(dates)
    assert places.tolist() == list(range(60))
    assert fits.all()
    assert (step.dates(dates[0], places) == dates).all()


@pytest.mark.parametrize("frequency", ["15min", "h", "D", "B", "W", "MS", "ME", "YS"])
def test_gaps_do_not_change_the_step_and_leave_places_free(frequency):
    dates = days(frequency)
    kept = np.setdiff1d(np.arange(60), [7, 20, 21, 22])
    step = infer([dates[kept]])
    assert step == infer([dates])
    assert step.count(dates[kept])[0].tolist() == kept.tolist()


def test_the_30th_and_31st_are_one_month_apart_from_the_end_of_february():
    dates = np.array(["2012-12-30", "2013-01-30", "2013-02-28", "2013-03-30", "2013-04-30"], "datetime64[us]")
    step = infer([dates])
    assert step == Step(1, "month")
    assert (step.dates(dates[0], np.arange(5)) == dates).all()


def test_the_step_of_a_panel_is_that_of_most_rows():
    assert infer([days("h", count=5), days("h", "2020-01-01", count=50)]) == Step(1, "hour")
    assert infer([days("D", count=1)]) is None


def test_dates_off_the_step_are_found():
    dates = days("h", count=6)
    dates[3] += np.timedelta64(7, "m")
    assert infer([dates[:3]]).count(dates)[1].tolist() == [True, True, True, False, True, True]


PANDAS = {
    "second": lambda d: d.second / 59,
    "minute": lambda d: d.minute / 59,
    "hour": lambda d: d.hour / 23,
    "day of week": lambda d: d.day_of_week / 6,
    "day of month": lambda d: (d.day - 1) / 30,
    "day of year": lambda d: (d.day_of_year - 1) / 365,
    "week": lambda d: (d.isocalendar().week.to_numpy(float) - 1) / 52,
    "month": lambda d: (d.month - 1) / 11,
}


@pytest.mark.parametrize("frequency", ["10s", "min", "15min", "h", "6h", "D", "B", "W", "MS", "YS"])
def test_calendar_features_are_those_of_pandas_scaled_to_half(frequency):
    dates = days(frequency, "2012-02-25 22:50", 3000 if frequency[0] not in "WMY" else 90)
    step = infer([dates])
    found = calendar(step, dates)
    expected = [PANDAS[name](pd.DatetimeIndex(dates)) - 0.5 for name in features(step)]
    assert found.shape == (len(dates), len(features(step)))
    for column, values in zip(found.T, expected, strict=True):
        np.testing.assert_allclose(column, values, atol=1e-12)
    assert np.abs(found).max(initial=0) <= 0.5


def test_features_fit_the_step():
    assert features(Step(1, "hour")) == ("hour", "day of week", "day of month", "day of year")
    assert features(Step(15, "minute"))[0] == "minute"
    assert features(Step(1, "day")) == ("day of week", "day of month", "day of year")
    assert features(Step(1, "month")) == ("month",)
    assert features(Step(1, "year")) == features(None) == ()


def test_dates_are_written_to_the_digit_they_need():
    assert written(days("D", "2013-12-30", 2)) == ["2013-12-30", "2013-12-31"]
    assert written(days("12h", "2013-12-30", 2)) == ["2013-12-30 00:00", "2013-12-30 12:00"]
    assert written(days("30s", "2013-12-30", 2)) == ["2013-12-30 00:00:00", "2013-12-30 00:00:30"]
