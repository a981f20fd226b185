"""Splits, scaling, filling and windows against slow and plain definitions; and nothing of the future in any of them."""

import json
import logging

import numpy as np
import pytest
import torch

from manyheads.data.series.missing import fill
from manyheads.data.series.read import Series
from manyheads.data.series.scaling import Scaling, fit
from manyheads.data.series.splits import Borders, Cut, Windows, borders, starts
from manyheads.data.series.step import Step
from manyheads.data.series.windows import SeriesRows, Store
from manyheads.errors import UserError

HOUR = Step(1, "hour")


def series(rows=100, channels=2, name="x", known=1, seed=0, gaps=0.0):
    chance = np.random.default_rng(seed)
    values = 50 + 7 * chance.normal(size=(rows, channels))
    values[chance.random(values.shape) < gaps] = np.nan
    dates = np.datetime64("2013-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    return Series(name, f"{name}.csv", values, chance.normal(3, 2, (rows, known)), dates)


def ratio(*shares):
    return Cut("ratio", shares or (0.7, 0.1, 0.2), None, None)


def test_ratios_are_cut_as_in_the_literature():
    assert borders(series(7588), HOUR, ratio()) == Borders(5311, 6071, 7588)
    assert borders(series(966), HOUR, ratio()) == Borders(676, 773, 966)


def test_ett_counts_months_of_30_days():
    cut = Cut("ett", (), None, None)
    assert borders(series(17420), HOUR, cut) == Borders(8640, 11520, 14400)
    assert borders(series(60000), Step(15, "minute"), cut) == Borders(34560, 46080, 57600)
    with pytest.raises(UserError, match="needs 14,400 rows"):
        borders(series(14399), HOUR, cut)
    with pytest.raises(UserError, match=r"a step of 1 month is no part"):
        borders(series(), Step(1, "month"), cut)


def test_dates_say_where_parts_begin():
    cut = Cut("dates", (), "2013-01-03", "2013-01-04 01:00")
    assert borders(series(), HOUR, cut) == Borders(48, 73, 100)
    for wrong, match in (
        (("2013-01-04", "2013-01-03"), "has to come before"),
        (
            ("2012-01-04", "2013-01-03"),
            r"leave a part empty: series x of x\.csv runs from 2013-01-01 to 2013-01-05",
        ),
        ((None, "2013-01-03"), r"needs data\.val_from"),
        (("soon", "2013-01-03"), r"data\.val_from=soon is no date"),
    ):
        with pytest.raises(UserError, match=match):
            borders(series(), HOUR, Cut("dates", (), *wrong))


@pytest.mark.parametrize("every", [1, 3])
def test_windows_of_a_part_forecast_that_part_and_all_of_it(every):
    part, shape = Borders(60, 75, 100), Windows(12, 5, every)
    for split, (begin, end) in {"train": (12, 60), "val": (60, 75), "test": (75, 100)}.items():
        firsts = starts(part, shape, split)
        forecast = [list(range(first + 12, first + 17)) for first in firsts]
        step = every if split == "train" else 1
        assert forecast == [list(range(row, row + 5)) for row in range(begin, end - 4, step)]


def test_scaling_is_fitted_on_the_training_rows_alone_without_what_is_missing():
    one, other = series(gaps=0.1), series(rows=80, name="y", seed=1)
    found = fit([(one, 60), (other, 40)], ("a", "b"), ("k",), "1 hour", 24)
    for row, (some, count) in enumerate(((one, 60), (other, 40))):
        for channel in range(2):
            seen = [value for value in some.values[:count, channel] if not np.isnan(value)]
            mean = sum(seen) / len(seen)
            assert found.mean[row, channel] == pytest.approx(mean)
            assert found.std[row, channel] == pytest.approx((sum((v - mean) ** 2 for v in seen) / len(seen)) ** 0.5)
            steps = np.abs(some.values[24:count, channel] - some.values[: count - 24, channel])
            assert found.error[row, channel] == pytest.approx(np.mean(steps[~np.isnan(steps)]))
    one.values[60:] = other.values[40:] = 1e9
    one.known[60:] = 1e9
    again = fit([(one, 60), (other, 40)], ("a", "b"), ("k",), "1 hour", 24)
    np.testing.assert_array_equal(again.mean, found.mean)
    np.testing.assert_array_equal(again.known_std, found.known_std)


def test_constant_channels_are_named_and_keep_their_unit(caplog):
    some = series()
    some.values[:60, 1] = 0.1
    with caplog.at_level(logging.WARNING):
        found = fit([(some, 60)], ("a", "flat"), ("k",), None, 1)
    assert "flat never changes in the training part of series x" in caplog.text
    assert found.std[0, 1] == 1
    some.values[:60, 1] = np.nan
    with pytest.raises(UserError, match=r"x\.csv: flat has no value in the training part"):
        fit([(some, 60)], ("a", "flat"), ("k",), None, 1)


def test_undo_brings_values_back_for_tensors_and_arrays():
    some = [series(seed=seed, name=str(seed)) for seed in range(3)]
    found = fit([(one, 60) for one in some], ("a", "b"), ("k",), None, 1)
    rows = np.array([2, 0])
    real = np.stack([some[row].values[:5] for row in rows])
    scaled = np.stack([(some[row].values[:5] - found.mean[row]) / found.std[row] for row in rows])
    np.testing.assert_allclose(found.undo(scaled, rows), real)
    np.testing.assert_allclose(found.undo(torch.tensor(scaled), torch.tensor(rows)), real)
    quantiles = torch.tensor(scaled).unsqueeze(-1).expand(-1, -1, -1, 3)
    np.testing.assert_allclose(found.undo(quantiles, torch.tensor(rows))[..., 2], real)
    assert found.undo(torch.tensor(scaled, dtype=torch.float32), torch.tensor(rows)).dtype == torch.float32


def test_a_scaling_is_saved_whole_and_read_back(tmp_path):
    found = fit([(series(30), 20)], ("a", "b"), ("k",), "1 hour", 24)
    found.save(tmp_path)
    again = Scaling.load(tmp_path)
    assert set(json.loads((tmp_path / "scaling.json").read_text())) == {
        "series", "channels", "known", "mean", "std", "known_mean", "known_std", "error", "step", "season",
    }  # fmt: skip
    for name in ("mean", "std", "known_mean", "known_std", "error"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert np.isnan(found.error).all()  # 20 rows hold no two values 24 apart
    assert (again.series, again.channels, again.known, again.step, again.season) == (
        ("x",), ("a", "b"), ("k",), "1 hour", 24,
    )  # fmt: skip
    (tmp_path / "scaling.json").write_text("{")
    with pytest.raises(UserError, match=r"scaling\.json is damaged"):
        Scaling.load(tmp_path)


def slow_fill(values, how):
    """One channel of one window."""
    seen = [row for row, value in enumerate(values) if not np.isnan(value)]
    filled = []
    for row, value in enumerate(values):
        before = [other for other in seen if other <= row]
        after = [other for other in seen if other >= row]
        if how == "mask" or not before or not np.isnan(value):
            filled.append(value)
        elif how == "ffill" or not after:
            filled.append(values[before[-1]])
        else:
            a, b = before[-1], after[0]
            filled.append(values[a] + (values[b] - values[a]) * (row - a) / (b - a))
    return filled


@pytest.mark.parametrize("how", ["mask", "ffill", "interpolate"])
def test_filling_follows_its_definition(how):
    chance = np.random.default_rng(0)
    values = chance.normal(size=(20, 9, 3))
    values[chance.random(values.shape) < 0.5] = np.nan
    values[0, :, 0] = np.nan
    expected = [[slow_fill(values[b, :, c], how) for c in range(3)] for b in range(20)]
    np.testing.assert_allclose(fill(values, how), np.swapaxes(expected, 1, 2))


def rows_of(some, missing="mask"):
    shape = Windows(12, 5, 1)
    scaling = fit([(one, 60) for one in some], ("a", "b"), ("k",), "1 hour", 24)
    store = Store(some, scaling, True)
    firsts = [starts(Borders(60, 75, len(one)), shape, "test") for one in some]
    places = np.repeat(np.arange(len(some)), [len(each) for each in firsts])
    return scaling, SeriesRows(store, places, np.concatenate(firsts), shape, missing)


def test_a_batch_is_the_slices_of_its_series():
    some = [series(100, gaps=0.2), series(90, name="y", seed=1)]
    scaling, rows = rows_of(some)
    assert len(rows) == 21 + 11
    index = [30, 0, 21, 20]
    batch = rows[index]
    assert batch.index.tolist() == index
    assert (len(batch), batch.tokens, batch.cells) == (4, 4 * 12 * 2, 4 * 12 * 2)
    for at, row in enumerate(index):
        number, first = (0, row) if row < 21 else (1, row - 21)
        begin, one = 75 - 12 + first, some[number]
        scaled = (one.values - scaling.mean[number]) / scaling.std[number]
        for name, part in (("history", slice(begin, begin + 12)), ("future", slice(begin + 12, begin + 17))):
            seen = ~np.isnan(scaled[part])
            np.testing.assert_array_equal(getattr(batch, f"{name}_seen")[at], seen)
            np.testing.assert_allclose(getattr(batch, name)[at], np.where(seen, scaled[part], 0), atol=1e-6)
            known = (one.known[part] - scaling.known_mean[number]) / scaling.known_std[number]
            np.testing.assert_allclose(getattr(batch, f"{name}_known")[at, :, :1], known, atol=1e-6)
        hours = one.dates[begin : begin + 12].astype("datetime64[h]").astype(int) % 24
        np.testing.assert_allclose(batch.history_known[at, :, 1], hours / 23 - 0.5, atol=1e-6)
        assert batch.series[at] == number
    assert batch.history_known.shape == (4, 12, 1 + 4)
    assert batch.history.dtype == batch.future_known.dtype == torch.float32


@pytest.mark.parametrize("missing", ["mask", "ffill", "interpolate"])
def test_no_history_knows_the_future_and_no_target_is_made_up(missing):
    one = series(gaps=0.4)
    _, rows = rows_of([one], missing)
    before = rows[[7]]
    assert (before.future_seen[0].numpy() == ~np.isnan(one.values[82:87])).all()
    changed = Series("x", "x.csv", one.values.copy(), one.known, one.dates)
    changed.values[82:] = 1e6
    after = rows_of([changed], missing)[1][[7]]
    assert torch.equal(after.history, before.history)
    assert torch.equal(after.history_seen, before.history_seen)


def test_windows_of_one_series_never_reach_into_the_next():
    some = [series(100), series(100, name="y", seed=1)]
    some[1].values[:] += 1e6
    rows = rows_of(some)[1]
    assert max(float(rows[[row]].future.abs().max()) for row in range(len(rows))) < 10


def test_windows_are_counted_within_their_series():
    some = [series(100), series(90, name="y", seed=1), series(85, name="z", seed=2)]
    rows = rows_of(some)[1]
    counts = [21, 11, 6]
    expected = [place for count in counts for place in range(count)]
    assert rows.within(np.arange(len(rows))).tolist() == expected
    assert rows.within(np.array([32, 20, 21, 0])).tolist() == [0, 20, 0, 0]


def test_blocks_hold_every_window_once_in_order(monkeypatch):
    monkeypatch.setattr("manyheads.data.series.windows.CELLS", 5 * 17 * 2)
    rows = rows_of([series(gaps=0.1)])[1]
    blocks = list(rows.arrays())
    assert [len(block.history) for block in blocks] == [5, 5, 5, 5, 1]
    whole = rows[list(range(21))]
    for name in ("history", "future", "history_seen", "future_seen"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_the_dates_of_a_horizon():
    one = series()
    assert rows_of([one])[1].dates(0) == [f"2013-01-04 0{hour}:00" for hour in range(3, 8)]
