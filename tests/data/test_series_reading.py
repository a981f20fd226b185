"""Files in, series on an even grid out; and what every kind of bad file is told."""

import gzip
import logging

import numpy as np
import pandas as pd
import pytest

from manyheads.data.series.read import read_panel
from manyheads.data.series.step import Step
from manyheads.data.series.table import Columns
from manyheads.errors import UserError


def columns(date=None, id=(), target=None, known=()):
    return Columns(date, id, target, known)


def read(path, step=None, **asked):
    return read_panel(path, columns(**asked), step)


def lines(count=6, first="2013-01-01", frequency="h", name="date"):
    dates = pd.date_range(first, periods=count, freq=frequency)
    return [f"{name},a,b"] + [f"{date},{row},{row / 2}" for row, date in enumerate(dates)]


def written(tmp_path, rows, name="x.csv"):
    path = tmp_path / name
    data = "\n".join(rows).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv", "x.parquet"])
def test_every_kind_of_file_gives_the_same_series(tmp_path, name):
    path = written(tmp_path, [row.replace(",", "\t" if "tsv" in name else ",") for row in lines()], name)
    if "parquet" in name:
        frame = pd.read_csv(written(tmp_path, lines()), parse_dates=["date"])
        frame.set_index("date").to_parquet(path)
    panel = read(path)
    [series] = panel.series
    assert (series.name, panel.step, panel.channels) == ("x", Step(1, "hour"), ("a", "b"))
    assert series.values.tolist() == [[row, row / 2] for row in range(6)]
    assert series.values.dtype == np.float64
    assert series.dates[-1] == np.datetime64("2013-01-01T05")


@pytest.mark.parametrize(
    ("form", "name"),
    [("%Y/%m/%d %H:%M", "when"), ("%Y-%m-%dT%H:%M:%SZ", "t"), ("%m/%d/%Y %H:%M", "Date"), ("%d.%m.%Y %H:%M", "day")],
)
def test_the_column_of_dates_is_found(tmp_path, form, name):
    dates = pd.date_range("2013-01-20", periods=100, freq="h").strftime(form)
    # A guess cell by cell would take days for months: here the form is that of the first cell, 20.01.
    panel = read(written(tmp_path, [f"a,{name}", *(f"{row},{date}" for row, date in enumerate(dates))]))
    assert panel.channels == ("a",)
    assert panel.series[0].dates[24] == np.datetime64("2013-01-21")
    assert len(panel.series[0]) == 100


def test_offsets_of_time_become_utc(tmp_path):
    rows = ["date,a", "2013-03-10T01:00:00-05:00,1", "2013-03-10T03:00:00-04:00,2", "2013-03-10T04:00:00-04:00,3"]
    panel = read(written(tmp_path, rows))
    assert panel.step == Step(1, "hour")
    assert panel.series[0].dates[0] == np.datetime64("2013-03-10T06")


def test_what_pandas_writes_is_read(tmp_path, caplog):
    frame = pd.DataFrame({"a": range(5)}, pd.date_range("2013-01-01", periods=5))
    frame.to_csv(tmp_path / "dates.csv")
    frame.reset_index(names="when").to_csv(tmp_path / "rows.csv")
    with caplog.at_level(logging.WARNING):
        found = [read(tmp_path / name) for name in ("dates.csv", "rows.csv")]
    assert [(panel.channels, str(panel.step)) for panel in found] == [(("a",), "1 day")] * 2
    assert "rows.csv:1 gives no name to column 1, which is left out" in caplog.text


def test_a_file_may_have_no_dates(tmp_path):
    panel = read(written(tmp_path, ["a,b", "1,2", "3,", "5,6"]))
    assert panel.step is None
    assert panel.series[0].dates is None
    np.testing.assert_array_equal(panel.series[0].values, [[1, 2], [3, np.nan], [5, 6]])
    assert read(written(tmp_path, lines()), date="none", target=("a",)).step is None


def test_years_may_be_numbers(tmp_path):
    panel = read(written(tmp_path, ["year,a", *(f"{year},1" for year in range(1990, 2000))]), date="year")
    assert panel.step == Step(1, "year")


def test_missing_values_and_blank_lines(tmp_path, caplog):
    rows = lines()
    rows[2], rows[4] = "2013-01-01 01:00:00,NA,", "2013-01-01 03:00:00,nan,7"
    with caplog.at_level(logging.WARNING):
        values = read(written(tmp_path, [*rows[:3], "", *rows[3:], "", ""])).series[0].values
    np.testing.assert_array_equal(np.isnan(values), [[0, 0], [1, 1], [0, 0], [1, 0], [0, 0], [0, 0]])
    assert not caplog.text


def test_gaps_become_missing_rows_and_are_said(tmp_path, caplog):
    rows = lines(9)
    path = written(tmp_path, [*rows[:3], *rows[5:8], rows[9]])
    with caplog.at_level(logging.WARNING):
        [series] = read(path).series
    assert np.flatnonzero(np.isnan(series.values[:, 0])).tolist() == [2, 3, 7]
    assert series.values[8].tolist() == [8, 4]
    assert len(series.dates) == 9
    assert "lacks 3 of 9 rows in series x (the first is that of 2013-01-01 02:00)" in caplog.text


def long_table(tmp_path):
    """Two id columns; rows of the series alternate; one may be called NA, one 007."""
    rows = ["shop,item,date,sold,price"]
    for row, date in enumerate(pd.date_range("2013-01-01", periods=5)):
        rows += [f"NA,007,{date},{row},1", f"B,007,{date},{10 + row},2", f"B,x y,{date},{20 + row},3"]
    return written(tmp_path, rows)


def test_a_long_table_is_grouped_by_its_ids(tmp_path):
    panel = read(long_table(tmp_path), id=("shop", "item"), known=("price",))
    assert [series.name for series in panel.series] == ["NA/007", "B/007", "B/x y"]
    assert [series.values[:, 0].tolist() for series in panel.series] == [
        [0, 1, 2, 3, 4], [10, 11, 12, 13, 14], [20, 21, 22, 23, 24],
    ]  # fmt: skip
    assert (panel.channels, panel.known) == (("sold",), ("price",))
    assert panel.series[2].known.tolist() == [[3]] * 5


def test_files_of_a_folder_are_series(tmp_path):
    written(tmp_path, lines(4), "b.csv")
    written(tmp_path, lines(7), "a.csv.gz")
    (tmp_path / "notes.txt").write_text("no table")
    assert [(series.name, len(series)) for series in read(tmp_path).series] == [("a", 7), ("b", 4)]


def refused(path, match, **asked):
    with pytest.raises(UserError, match=match) as caught:
        read(path, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


BAD = {
    "text column": (2, "2013-01-01 01:00:00,1,sunny", r"x\.csv:3: column b is text, such as 'sunny'.*data\.target"),
    "infinite": (3, "2013-01-01 02:00:00,-inf,1", r"x\.csv:4: a is infinite"),
    "same time": (4, "2013-01-01 02:00:00,1,1", r"x\.csv:5: 2013-01-01 02:00 is the same time as the row before it"),
    "going back": (5, "2012-12-31 02:00:00,1,1", r"x\.csv:6: 2012-12-31 02:00 is earlier than .*data\.id"),
    "no date": (4, "soon,1,1", r"x\.csv:5: date is 'soon', no date"),
    "empty date": (4, ",1,1", r"x\.csv:5: date is 'nan', no date"),
    "off the grid": (4, "2013-01-01 03:07:00,1,1", r"x\.csv:5: 2013-01-01 03:07 is no whole number of steps of 1 hour"),
    "far away": (6, "2023-01-01 05:00:00,1,1", r"series x has 6 rows, but 87,\d\d\d steps of 1 hour"),
    "more cells": (4, "2013-01-01 03:00:00,1,1,1", r"x\.csv cannot be read as a table: Expected 3 fields in line 5"),
    "no utf-8": (0, "date,a,°C", r"x\.csv:1 is not UTF-8"),
    "named twice": (0, "date,a,a", r"x\.csv:1 names a twice"),
    "no header": (0, "1.5,2,3", r"x\.csv:1 is numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named_by_line(tmp_path, case):
    row, line, match = BAD[case]
    rows = lines()
    rows[row] = line
    path = written(tmp_path, rows)
    if case == "no utf-8":
        path.write_bytes("\n".join(rows).encode("latin-1"))
    refused(path, match)


def test_bad_columns_are_named(tmp_path):
    path = written(tmp_path, lines())
    refused(path, r"x\.csv has no column c \(data\.target\); it has date, a, b", target=("a", "c"))
    refused(path, r"has no column when \(data\.date\)", date="when")
    refused(path, r"a is named twice", target=("a",), known=("a",))
    refused(path, r"has no column of numbers", known=("a", "b"))
    long = long_table(tmp_path)
    assert "columns shop, item are text, such as 'B'" in refused(long, r"data\.id")
    refused(long, "the same time as the row before it.*data.id", target=("sold",))
    refused(written(tmp_path, ["id,a", "x,1", ",2"]), r"x\.csv:3 names no series", id=("id",))


def test_bad_files_are_named(tmp_path):
    refused(tmp_path / "gone.csv", "there is no such file")
    refused(written(tmp_path, ["x"], "x.txt"), r"is no table: a file of series ends in \.csv")
    refused(written(tmp_path, ["date,a,b"]), "has no rows")
    refused(written(tmp_path, []), "is empty")
    refused(written(tmp_path, ["a;b", "1;2"]), "cut at semicolons")
    refused(written(tmp_path, ["no parquet"], "x.parquet"), "cannot be read as Parquet")
    folder = tmp_path / "both"
    folder.mkdir()
    written(folder, lines(), "a.csv")
    written(folder, ["a,b", "1,2"], "b.csv")
    refused(folder, r"b\.csv has no dates, but other files have")
    written(folder, lines(), "a.tsv")
    (folder / "b.csv").unlink()
    (folder / "a.tsv").write_text("\n".join(lines()).replace(",", "\t"))
    refused(folder, r"both hold a series a")


def test_another_step_than_that_of_the_run_is_refused(tmp_path):
    path = written(tmp_path, lines(frequency="15min"))
    refused(path, r"x\.csv:3: 2013-01-01 00:15 is no whole number of steps of 1 hour", step=Step(1, "hour"))
