"""Baselines against plain definitions, on series whose best forecast is known, and on ETTh1 where it is."""

import os
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from manyheads.baseline.series import RIDGE, baselines, forecasters, linear, repeat_last, ridge, score, seasonal_naive
from manyheads.data.synthetic.series import Recipe, floor, generate
from manyheads.data.timeseries import TimeSeriesData

ROOT = Path(__file__).parents[2]
ETTH1 = Path(os.environ.get("MANYHEADS_DATA", ROOT.parent / "shared" / "data")) / "timeseries" / "ETTh1.csv.gz"


class Made:
    """Windows in blocks of three."""

    def __init__(self, values, spans, seen=None):
        windows = np.lib.stride_tricks.sliding_window_view(values, sum(spans), axis=0).swapaxes(1, 2)
        seen = np.ones(values.shape, bool) if seen is None else seen
        masks = np.lib.stride_tricks.sliding_window_view(seen, sum(spans), axis=0).swapaxes(1, 2)
        self.spans, self.windows, self.masks = spans, np.where(masks, windows, 0), masks

    def arrays(self):
        cut = self.spans[0]
        for first in range(0, len(self.windows), 3):
            values, seen = self.windows[first : first + 3], self.masks[first : first + 3]
            yield values[:, :cut], values[:, cut:], seen[:, :cut], seen[:, cut:]


def noise(rows=60, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, channels)).cumsum(0)


def test_naive_forecasts_repeat_what_was():
    history, seen = np.arange(14.0).reshape(1, 7, 2), np.ones((1, 7, 2), bool)
    assert repeat_last(3)(history, seen).tolist() == [[[12, 13]] * 3]
    assert seasonal_naive(5, 3)(history, seen)[0, :, 0].tolist() == [8, 10, 12, 8, 10]
    seen[0, -1, 0] = False
    assert repeat_last(1)(history, seen).tolist() == [[[10, 13]]]


def test_what_is_carried_is_the_last_seen_then_the_first_then_0():
    history = np.array([[[9.0, 9, 9], [1, 9, 9], [9, 2, 9], [3, 9, 9], [9, 9, 9]]])
    seen = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]], bool)
    assert seasonal_naive(5, 5)(history, seen)[0].T.tolist() == [[1, 1, 1, 3, 3], [2, 2, 2, 2, 2], [0, 0, 0, 0, 0]]


def test_scores_are_means_over_all_seen_values():
    values, seen = noise(), np.random.default_rng(1).random((60, 2)) < 0.7
    found = score(repeat_last(4), Made(values, (6, 4), seen))
    errors = []
    for begin in range(51):
        for channel in range(2):
            known = [row for row in range(begin, begin + 6) if seen[row, channel]]
            last = values[known[-1], channel] if known else 0.0
            future = range(begin + 6, begin + 10)
            errors += [last - values[row, channel] for row in future if seen[row, channel]]
    assert found["mse"] == pytest.approx(np.square(errors).mean())
    assert found["mae"] == pytest.approx(np.abs(errors).mean())


@pytest.mark.parametrize("bias", [True, False])
def test_the_linear_map_solves_the_ridge_of_all_windows_and_channels(bias):
    values, (history, horizon) = noise(), (6, 4)
    made = Made(values, (history, horizon))
    rows = made.windows.swapaxes(1, 2).reshape(-1, history + horizon)
    rows = rows - rows[:, history - 1 : history]
    inputs = np.hstack([rows[:, :history], np.ones((len(rows), int(bias)))])
    # The same problem as least squares: a ridge is as many rows more, of its root and of 0.
    inputs = np.vstack([inputs, np.sqrt(RIDGE) * np.eye(history + bias)])
    targets = np.vstack([rows[:, history:], np.zeros((history + bias, horizon))])
    weights = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    np.testing.assert_allclose(ridge(made, bias), weights, rtol=1e-6, atol=1e-8)


def test_the_linear_forecast_adds_its_map_to_the_last_value():
    made, history = Made(noise(), (6, 4)), 6
    weights = ridge(made)
    past = made.windows[7:8, :history]
    changed = past - past[:, -1:]
    expected = np.stack([changed[0, :, c] @ weights[:-1] + weights[-1] + past[0, -1, c] for c in range(2)], 1)
    np.testing.assert_allclose(linear(made)(past, np.ones(past.shape, bool))[0], expected, rtol=1e-6, atol=1e-8)


def test_the_linear_map_continues_waves_and_comes_near_the_best_forecast():
    recipe = Recipe((12,), 3.0, 0.0, 0.3, 0.7)
    values = generate(recipe, 3, 1500, 0).values.T
    train, test = Made(values[:1000], (48, 6)), Made(values[952:], (48, 6))
    found = baselines(train, test, 12)
    best = floor(recipe, 6).mean()
    assert best * 0.85 < found["linear"]["mse"] < best * 1.2
    assert found["linear"]["mse"] < min(found["seasonal_naive"]["mse"], found["repeat_last"]["mse"])


def test_what_is_missing_changes_little_and_counts_nowhere():
    values = generate(Recipe((12,), 3.0, 0.0, 0.3, 0.7), 3, 1000, 0).values.T
    seen = np.random.default_rng(1).random(values.shape) > 0.02
    hidden = np.where(seen, values, 1e9)
    whole = score(linear(Made(values, (48, 6))), Made(values, (48, 6)))["mse"]
    assert score(linear(Made(hidden, (48, 6), seen)), Made(hidden, (48, 6), seen))["mse"] < 1.6 * whole


def test_a_test_changes_no_forecaster_and_a_long_season_has_no_naive_one():
    made = Made(noise(), (6, 4))
    assert list(forecasters(made, 6)) == ["repeat_last", "seasonal_naive", "linear"]
    assert list(forecasters(made, 7)) == ["repeat_last", "linear"]
    nothing = Made(noise(), (6, 4), np.zeros((60, 2), bool))
    assert np.isnan(score(repeat_last(4), nothing)["mse"])


def windows(history, horizon):
    options = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/timeseries.yaml").data, resolve=False)
    options |= {"path": str(ETTH1), "history": history, "horizon": horizon, "split": "ett", "seed": 1}
    data = TimeSeriesData(**{key: value for key, value in options.items() if key != "_target_"})
    data.setup()
    return data.windows("train"), data.windows("test"), data.season


@pytest.mark.skipif(not ETTH1.is_file(), reason=f"there is no {ETTH1}; MANYHEADS_DATA names the folder of data")
def test_etth1_gives_the_figures_known_of_it():
    found = baselines(*windows(96, 96))
    expected = {"repeat_last": (1.294, 0.713), "seasonal_naive": (0.512, 0.433), "linear": (0.383, 0.392)}
    for name, (mse, mae) in expected.items():
        assert found[name]["mse"] == pytest.approx(mse, abs=6e-4)
        assert found[name]["mae"] == pytest.approx(mae, abs=6e-4)


@pytest.mark.slow
@pytest.mark.skipif(not ETTH1.is_file(), reason=f"there is no {ETTH1}; MANYHEADS_DATA names the folder of data")
@pytest.mark.parametrize(
    ("horizon", "mse", "mae"), [(96, 0.370, 0.392), (192, 0.403, 0.411), (336, 0.428, 0.426), (720, 0.434, 0.450)]
)
def test_the_linear_bar_of_etth1(horizon, mse, mae):
    train, test, _ = windows(336, horizon)
    found = score(linear(train), test)
    assert found["mse"] == pytest.approx(mse, abs=6e-4)
    assert found["mae"] == pytest.approx(mae, abs=6e-4)
