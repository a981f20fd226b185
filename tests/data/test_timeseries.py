"""The data module as train.py uses it: on made-up series, on the embedded one, and on ETTh1 where it is."""

import inspect
import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from manyheads.data.base import SeriesSpec
from manyheads.data.synthetic.series import Recipe, generate
from manyheads.data.timeseries import TimeSeriesData
from manyheads.errors import UserError

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MANYHEADS_DATA", ROOT.parent / "shared" / "data")) / "timeseries"
RECIPE = Recipe((24,), 3.0, 0.0, 0.5, 0.8)


def options(**changes):
    """conf/data/timeseries.yaml, with what other files of conf say put in by hand."""
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/timeseries.yaml").data, resolve=False)
    small = {"history": 24, "horizon": 6, "patch": 8, "stride": 4, "batch": 16, "evaluation_batch": 32, "seed": 1}
    return {key: value for key, value in (values | small | changes).items() if key != "_target_"}


def table(tmp_path, rows=400, name="x.csv", seed=0):
    """Columns date, s0, s1; returns the path."""
    path = tmp_path / name
    generate(RECIPE, 2, rows, seed).table("2013-01-01", np.timedelta64(1, "h")).to_csv(path, index=False)
    return path


def made(path, **changes):
    data = TimeSeriesData(**options(path=path and str(path), **changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_yaml_and_the_constructor_have_the_same_keys_and_only_the_yaml_has_values():
    parameters = inspect.signature(TimeSeriesData).parameters
    assert set(options()) == set(parameters)
    assert all(parameter.default is parameter.empty for parameter in parameters.values())


def test_the_spec_follows_the_data(tmp_path):
    data = made(table(tmp_path), quantiles=[0.1, 0.5, 0.9])
    assert data.spec == SeriesSpec(
        kind="timeseries", longest=9, channels=2, history=24, horizon=6, known=4, patch=8, stride=4,
        quantiles=(0.1, 0.5, 0.9),
    )  # fmt: skip
    assert (data.season, data.channels, data.test_names) == (24, ("s0", "s1"), ["test"])
    assert made(table(tmp_path), known="s1", target="s0").spec.known == 5
    assert made(table(tmp_path), calendar=False, season=5).spec.known == 0
    assert made(table(tmp_path), calendar=False, season=5).season == 5


def test_every_window_is_evaluated_once_and_training_sees_all_windows(tmp_path):
    data = made(table(tmp_path))
    counts = {"train": 280 - 29, "val": 40 - 5, "test": 80 - 5}
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()[0]}
    for split, loader in loaders.items():
        batches = list(loader)
        rows = [row for batch in batches for row in batch.index.tolist()]
        assert sorted(rows) == list(range(counts[split])), split
        assert max(map(len, batches)) <= (16 if split == "train" else 32)
        assert len(data.windows(split)) == counts[split]
    assert len(made(table(tmp_path), every=10).windows("train")) == 26


def test_the_order_of_training_is_its_seeds_and_its_epochs(tmp_path):
    first, same, other = (made(table(tmp_path), seed=seed).train_dataloader() for seed in (1, 1, 2))
    orders = [[batch.index.tolist() for batch in loader] for loader in (first, first, same, same, other)]
    assert orders[:2] == orders[2:4]
    assert orders[0] != orders[1]
    assert orders[0] != orders[4]


def test_a_stopped_epoch_goes_on_with_the_next_batch(tmp_path):
    data = made(table(tmp_path))
    whole = [batch.index.tolist() for batch in data.train_dataloader()]
    stopped, resumed = data.train_dataloader(), data.train_dataloader()
    batches = iter(stopped)
    for _ in range(3):
        next(batches)
    resumed.load_state_dict(stopped.state_dict())
    assert [batch.index.tolist() for batch in resumed] == whole[3:]


def test_ranks_share_the_windows(tmp_path):
    class Trainer:
        world_size, overfit_batches = 2, 0

        def __init__(self, rank):
            self.global_rank = rank

    rows = []
    for rank in range(2):
        data = made(table(tmp_path))
        data.trainer = Trainer(rank)
        rows += [row for batch in data.val_dataloader() for row in batch.index.tolist()]
    assert sorted(rows) == list(range(35))


def test_training_knows_nothing_of_the_other_parts(tmp_path):
    path = table(tmp_path)
    before = made(path)
    frame = pd.read_csv(path)
    frame.loc[280:, ["s0", "s1"]] = 1e6
    frame.to_csv(path, index=False)
    after = made(path)
    np.testing.assert_array_equal(after.scaling.mean, before.scaling.mean)
    np.testing.assert_array_equal(after.train_values()[0], before.train_values()[0])
    rows = list(range(len(before.windows("train"))))
    assert torch.equal(after.windows("train")[rows].future, before.windows("train")[rows].future)


def test_scaled_values_come_back_and_train_values_are_the_training_part(tmp_path):
    path = table(tmp_path)
    data, frame = made(path), pd.read_csv(path)
    batch = data.windows("test")[[0, 74]]
    real = data.scaling.undo(batch.future.double(), batch.series)
    np.testing.assert_allclose(real[0], frame[["s0", "s1"]].to_numpy()[320:326], rtol=1e-5)
    np.testing.assert_allclose(real[1], frame[["s0", "s1"]].to_numpy()[394:], rtol=1e-5)
    [train] = data.train_values()
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-5)
    assert data.dates("test", 74)[-1] == str(frame.date.iloc[-1])[:16]


def panel(tmp_path, lengths=(400, 300)):
    frames = []
    for number, rows in enumerate(lengths):
        frame = generate(RECIPE, 2, rows, number).table("2013-01-01", np.timedelta64(1, "h"))
        frames.append(frame.assign(shop=f"shop {number}"))
    path = tmp_path / "panel.parquet"
    pd.concat(frames).sample(frac=1, random_state=0).sort_values("date").to_parquet(path)
    return path


def test_series_of_a_panel_are_split_and_scaled_one_by_one(tmp_path):
    data = made(panel(tmp_path), id="shop")
    lengths = dict(zip(data.scaling.series, map(len, data.train_values()), strict=True))
    assert lengths == {"shop 0": 280, "shop 1": 210}
    assert data.channels == ("s0", "s1")
    assert len(data.windows("test")) == (80 - 5) + (60 - 5)
    assert data.windows("test")[[0, 129]].series.tolist() == [0, 1]
    real = generate(RECIPE, 2, 300, 1).values.T
    place = data.scaling.series.index("shop 1")
    np.testing.assert_allclose(data.scaling.mean[place], real[:210].mean(0))


def test_short_series_of_a_panel_are_refused_or_left_out(tmp_path, caplog):
    path = panel(tmp_path, (400, 30, 20))
    with pytest.raises(UserError, match=r"training part of series shop \d has \d\d of \d0 rows.*2 such series.*skip"):
        made(path, id="shop")
    with caplog.at_level(logging.WARNING):
        data = made(path, id="shop", on_short="skip")
    assert data.scaling.series == ("shop 0",)
    assert "2 series are left out, being too short" in caplog.text
    with pytest.raises(UserError, match="training part"):
        made(panel(tmp_path, (20, 30)), id="shop", on_short="skip")


REFUSED = {
    "test part": (
        {"horizon": 90},
        r"x\.csv: of the 400 rows of series x the val part has 40 and the test part has 80, fewer",
    ),
    "test part alone": (
        {"horizon": 90, "ratio": [0.5, 0.3, 0.2]},
        r"of the 400 rows of series x the test part has 80, fewer than data\.horizon=90; shorten",
    ),
    "train part": ({"history": 275}, r"training part .* has 280 of 400 rows, but data\.history=275 .* need 281"),
    "ratio": ({"ratio": [0.7, 0.1, 0.1]}, r"data\.ratio=\[0\.7, 0\.1, 0\.1\] is not three shares"),
    "ett": ({"split": "ett"}, r"data\.split=ett needs 14,400 rows \(20 months\), and series x of .* has 400"),
    "patch": ({"patch": 30}, r"data\.patch=30"),
    "stride": ({"stride": 9}, r"data\.stride=9"),
    "quantiles": ({"quantiles": [0.5, 0.1]}, r"data\.quantiles=\[0\.5, 0\.1\] have to rise"),
    "quantiles out of range": ({"quantiles": [0.5, 1.0]}, r"data\.quantiles"),
    "horizon": ({"horizon": 0}, r"data\.horizon=0 is no number of steps"),
    "season": ({"season": -3}, r"data\.season=-3 is no number of steps: give 1 or more"),
    "season of 0": ({"season": 0}, r"data\.season=0 is no number of steps: give 1 or more"),
    "batch": ({"batch": 0}, r"data\.batch=0 is no number of windows: give 1 or more"),
    "evaluation batch": ({"evaluation_batch": -1}, r"data\.evaluation_batch=-1 is no number of windows: give 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path, case):
    changes, match = REFUSED[case]
    with pytest.raises(UserError, match=match) as caught:
        made(table(tmp_path), **changes)
    assert "\n" not in str(caught.value)


def test_missing_values_are_refused_where_that_is_wished(tmp_path):
    path = table(tmp_path)
    frame = pd.read_csv(path)
    frame.loc[17, "s1"] = np.nan
    frame.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"x\.csv, series x, 2013-01-01 17:00: s1 is missing \(the first of 1"):
        made(path, missing="refuse")
    assert not made(path).windows("train")[[0]].history_seen.all()
    assert made(path, missing="ffill").windows("train")[[0]].history_seen.all()


def restored(data, tmp_path, **changes):
    data.save(tmp_path / "run")
    return TimeSeriesData(**options(path="gone.csv", **changes)).restore(tmp_path / "run")


def test_a_restored_module_has_the_spec_and_scales_as_it_was(tmp_path):
    data = made(table(tmp_path), known="s1")
    again = restored(data, tmp_path, known="s1")
    assert again.spec == data.spec
    assert json.loads((tmp_path / "run/scaling.json").read_text())["step"] == "1 hour"
    again.path = table(tmp_path, name="other.csv", seed=7)
    again.setup()
    np.testing.assert_array_equal(again.scaling.mean, data.scaling.mean)


def test_other_files_are_tested_whole_on_the_runs_scale(tmp_path):
    data = restored(made(table(tmp_path)), tmp_path)
    other = table(tmp_path, rows=100, name="other.csv", seed=3)
    alone = data.tests_alone(str(other))
    assert (alone.test_names, alone.season, alone.channels) == (["other"], 24, ("s0", "s1"))
    [loader] = alone.test_dataloader()
    assert sorted(row for batch in loader for row in batch.index.tolist()) == list(range(100 - 29))
    batch = alone.windows("other")[[0]]
    real = alone.scaling.undo(batch.history.double(), batch.series)[0]
    np.testing.assert_allclose(real, pd.read_csv(other)[["s0", "s1"]].to_numpy()[:24], rtol=1e-4)
    with pytest.raises(UserError, match=r"gone\.csv: there is no such file"):
        alone.windows("train")
    assert data.tests_alone(str(table(tmp_path, name="train.csv"))).test_names == ["test_train"]
    with pytest.raises(UserError, match=r"has 20 rows, and a window of this run needs 30"):
        data.tests_alone(str(table(tmp_path, rows=20, name="short.csv")))


def test_a_series_that_was_not_in_training_has_no_scale(tmp_path):
    data = restored(made(panel(tmp_path), id="shop"), tmp_path, id="shop")
    pd.read_parquet(panel(tmp_path, (100, 100, 100))).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match=r"not trained on a series shop 2, so its scale is unknown; it knows shop"):
        data.tests_alone(str(tmp_path / "new.csv"))


def test_the_future_of_a_file_begins_where_it_ends(tmp_path):
    data, path = restored(made(table(tmp_path)), tmp_path), table(tmp_path, rows=50, name="other.csv")
    [ahead] = data.future_of(str(path))
    real = data.scaling.undo(ahead.batch.history.double(), ahead.batch.series)[0]
    np.testing.assert_allclose(real, pd.read_csv(path)[["s0", "s1"]].to_numpy()[-24:], rtol=1e-4)
    assert ahead.dates == tuple(f"2013-01-03 0{hour}:00" for hour in range(2, 8))
    assert ahead.series == "other"
    assert ahead.batch.future.shape == (1, 6, 2)
    assert not ahead.batch.future_seen.any()
    np.testing.assert_allclose(ahead.batch.future_known[0, :, 0], np.arange(2, 8) / 23 - 0.5, atol=1e-6)
    with pytest.raises(UserError, match=r"has 20 rows, and the model reads the last 24"):
        data.future_of(str(table(tmp_path, rows=20, name="short.csv")))


def test_all_series_are_looked_at_before_one_is_forecast(tmp_path):
    data = restored(made(panel(tmp_path), id="shop"), tmp_path, id="shop")
    pd.read_parquet(panel(tmp_path, (100, 20))).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(UserError, match=r"series shop 1 has 20 rows, and the model reads the last 24"):
        data.future_of(str(tmp_path / "new.csv"))


def test_known_columns_of_the_future_are_asked_for_and_used(tmp_path):
    data = restored(made(table(tmp_path), known="s1", target="s0"), tmp_path, known="s1", target="s0")
    path = table(tmp_path, rows=50, name="other.csv")
    with pytest.raises(UserError, match=r"gives s1 for 0 of the 6 steps .*empty: s1 of 2013-01-03 02:00\); bring"):
        data.future_of(str(path))
    frame = pd.read_csv(path)
    frame.loc[43:, "s0"] = np.nan
    frame.to_csv(path, index=False)
    [ahead] = data.future_of(str(path))
    known = ahead.batch.future_known[0, :, 0] * data.scaling.known_std[0, 0] + data.scaling.known_mean[0, 0]
    np.testing.assert_allclose(known, frame.s1.to_numpy()[43:49], rtol=1e-4)
    assert ahead.dates[0] == frame.date[43][:16]


@pytest.mark.parametrize(
    ("empty", "cut", "dated", "given", "first"),
    [
        ([45, 47], [], True, 4, "price of 2013-01-02 21:00"),
        ([43], [], True, 5, "load of 2013-01-02 19:00"),
        ([], [46], True, 5, "load of 2013-01-02 22:00"),
        ([48], [], True, 5, "load of 2013-01-03 00:00"),
        ([], [47, 48, 49], True, 4, "load of 2013-01-02 23:00"),
        ([45, 47], [], False, 4, "price of row 46"),
        ([], [47, 48, 49], False, 4, "load of row 48"),
    ],
)
def test_a_known_cell_that_is_empty_in_the_horizon_is_refused(tmp_path, empty, cut, dated, given, first):
    """Row 43 begins the horizon of 6: a row that is there says nothing of the cells in it."""

    def shaped(path):
        frame = pd.read_csv(path).assign(load=1.5, price=np.arange(2.0, 2.0 + len(pd.read_csv(path))))
        frame = frame.drop(columns=["s1"] if dated else ["s1", "date"])
        frame.to_csv(path, index=False)
        return frame

    asked = {"known": ["load", "price"], "target": "s0"}
    shaped(table(tmp_path))
    data = restored(made(tmp_path / "x.csv", **asked), tmp_path, **asked)
    path = table(tmp_path, rows=50, name="other.csv")
    frame = shaped(path)
    frame.loc[43:, "s0"] = np.nan
    frame.to_csv(path, index=False)
    assert next(iter(data.future_of(str(path)))).batch.future_known.isfinite().all()
    frame.loc[empty, first.split()[0]] = np.nan
    frame.drop(index=cut).to_csv(path, index=False)
    match = rf"load, price for {given} of the 6 steps .*the first empty: {first}\)"
    with pytest.raises(UserError, match=match) as caught:
        data.future_of(str(path))
    assert "\n" not in str(caught.value)


def test_a_known_cell_that_is_empty_elsewhere_is_carried_on(tmp_path):
    asked = {"known": "s1", "target": "s0"}
    data = restored(made(table(tmp_path), **asked), tmp_path, **asked)
    path = table(tmp_path, rows=55, name="other.csv")
    frame = pd.read_csv(path)
    frame.loc[43:, "s0"] = np.nan
    frame.loc[[40, 49], "s1"] = np.nan
    frame.to_csv(path, index=False)
    [ahead] = data.future_of(str(path))
    assert ahead.batch.history_known[0, -3, 0] == ahead.batch.history_known[0, -4, 0]


def test_a_season_of_one_step_is_taken_as_it_is(tmp_path):
    assert made(table(tmp_path), season=1).season == 1


def test_a_file_without_dates_has_no_calendar_and_says_so(tmp_path, caplog):
    path = table(tmp_path)
    pd.read_csv(path).drop(columns="date").to_csv(path, index=False)
    with caplog.at_level(logging.WARNING):
        data = made(path)
    assert (data.spec.known, data.season) == (0, 1)
    assert "has no dates to tell its season from: data.season is taken as 1" in caplog.text
    assert data.dates("test", 0) is None
    assert next(iter(data.future_of(str(path)))).dates == ("401", "402", "403", "404", "405", "406")
    dated = restored(made(table(tmp_path, name="dated.csv")), tmp_path)
    with pytest.raises(UserError, match=r"x\.csv has no dates, but what the run was trained on had"):
        dated.tests_alone(str(path))


def test_the_embedded_default_is_ready_without_a_file(caplog):
    values = options()
    whole = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/timeseries.yaml").data, resolve=False)
    values |= {key: whole[key] for key in ("history", "horizon", "patch", "stride", "batch", "evaluation_batch")}
    data = TimeSeriesData(**values)
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert data.channels == ("temp", "dewp", "humid", "wind_speed", "visib")
    assert "lacks 24 of 8,730 rows" in caplog.text
    assert [len(data.windows(split)) for split in ("train", "val", "test")] == [5680, 778, 1651]
    assert all(batch.history.isfinite().all() for batch in data.val_dataloader())


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no {SHARED}; MANYHEADS_DATA names the folder of data")
@pytest.mark.parametrize(
    ("name", "changes", "windows", "season"),
    [
        ("ETTh1", {"split": "ett", "history": 336, "horizon": 96}, [8209, 2785, 2785], 24),
        ("exchange_rate", {"history": 96, "horizon": 96}, [5120, 665, 1422], 7),
        ("national_illness", {"history": 36, "horizon": 24}, [617, 74, 170], 52),
        ("nyc_weather_2013", {"id": ["origin"], "target": ["temp", "humid"]}, [18246, 2604, 5223], 24),
    ],
)
def test_real_files_are_read_as_they_are(name, changes, windows, season):
    data = made(SHARED / f"{name}.csv.gz", **changes)
    assert [len(data.windows(split)) for split in ("train", "val", "test")] == windows
    assert data.season == season


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no {SHARED}; MANYHEADS_DATA names the folder of data")
def test_a_text_column_of_a_real_file_is_refused_by_name():
    with pytest.raises(UserError, match=r"columns? origin.*text, such as 'EWR'"):
        made(SHARED / "nyc_weather_2013.csv.gz")
