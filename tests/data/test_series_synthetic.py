"""The generator's known answers hold for what it generates."""

import numpy as np

from manyheads.data.synthetic.series import Recipe, floor, generate

RECIPE = Recipe(seasons=(24, 168), amplitude=3.0, slope=0.01, noise=0.5, carry=0.8)


def test_a_seed_says_everything():
    one, again, other = (generate(RECIPE, 3, 200, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.values, again.values)
    assert one.values.shape == (3, 200)
    assert not np.allclose(one.values, other.values)


def test_the_best_forecast_misses_by_its_floor_and_no_more():
    made = generate(RECIPE, 400, 120, 0)
    errors = np.stack([(made.best(begin, 12) - made.values[:, begin : begin + 12]) ** 2 for begin in (40, 70, 100)])
    np.testing.assert_allclose(errors.mean((0, 1)), floor(RECIPE, 12), rtol=0.12)


def test_certain_parts_are_lines_and_waves():
    made = generate(Recipe((24,), 3.0, 0.5, 0.0, 0.0), 2, 100, 0)
    np.testing.assert_allclose(made.values, made.certain)
    np.testing.assert_allclose(made.values[:, 24:] - made.values[:, :-24], 24 * 0.5)


def test_noise_is_as_large_at_the_start_as_later():
    made = generate(Recipe((10,), 1.0, 0.0, 1.0, 0.9), 3000, 30, 0)
    spread = (made.values - made.certain).std(0)
    np.testing.assert_allclose(spread, (1 / (1 - 0.81)) ** 0.5, rtol=0.08)


def test_a_table_has_dates_and_a_column_a_series():
    frame = generate(RECIPE, 2, 5, 0).table("2013-01-01", np.timedelta64(1, "h"))
    assert list(frame.columns) == ["date", "s0", "s1"]
    assert str(frame.date.iloc[-1]) == "2013-01-01 04:00:00"
