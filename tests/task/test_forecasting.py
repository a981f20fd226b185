"""The task with a real trainer, on a small series whose future can be told from its past."""

import csv
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from manyheads import build
from manyheads.baseline.series import ridge
from manyheads.config.compose import compose
from manyheads.task.base import groups

MODELS = ("encoder_only", "decoder_only", "encoder_decoder")
CHANNELS = ("load", "price")
ROWS, HISTORY, HORIZON = 400, 24, 10
models = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two waves of different sizes, hourly, with noise and a few gaps."""
    noise = np.random.default_rng(0)
    steps = np.arange(ROWS)
    waves = np.sin(steps[:, None] * 2 * np.pi / np.array([12, 8])) + 0.1 * noise.normal(size=(ROWS, 2))
    values = waves * [20, 3] + [100, -5]
    dates = np.datetime64("2020-01-01T00") + steps.astype("timedelta64[h]")
    path = tmp_path_factory.mktemp("series") / "waves.csv"
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["date", *CHANNELS])
        for row, date in enumerate(dates):
            cells = ["" if (row + column) % 37 == 0 else repr(float(values[row, column])) for column in range(2)]
            writer.writerow([str(date).replace("T", " ") + ":00", *cells])
    return path


def composed(file, *overrides):
    small = [f"data.history={HISTORY}", f"data.horizon={HORIZON}", "data.patch=4", "data.stride=2", "data.batch=32"]
    small += ["model.dim=16", "model.heads=2", "model.hidden=24", "trainer.accelerator=cpu", "trainer.max_epochs=1"]
    return compose(["data=timeseries", f"data.path={file}", *small, *overrides])


class Run:
    """What run.py does, without its record."""

    def __init__(self, file, folder, *overrides):
        self.cfg, self.folder = composed(file, *overrides), folder
        self.data = build.data(self.cfg)
        self.data.setup("fit")
        self.task = build.task(self.cfg, build.model(self.cfg, self.data.spec), self.data.spec)

    def fit(self):
        trainer = build.trainer(self.cfg, self.folder, [])
        trainer.fit(self.task, datamodule=self.data)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    def test(self, data=None):
        trainer = build.evaluator(self.cfg, self.folder)
        trainer.test(self.task, datamodule=data or self.data, verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.fixture
def run(file, tmp_path):
    return Run(file, tmp_path, "model=encoder_only", "data.quantiles=[0.1,0.5,0.9]")


@torch.no_grad()
def forecasts(run):
    """All test windows and what the model says of them."""
    batch = run.data.windows("test")[list(range(len(run.data.windows("test"))))]
    return batch, run.task.eval().model(batch)


@models
@pytest.mark.parametrize("quantiles", ["[]", "[0.1,0.5,0.9]"])
def test_trains_validates_and_tests(model, quantiles, file, tmp_path):
    overrides = ["data.every=2", "logger=csv"]
    run = Run(file, tmp_path, f"model={model}", f"data.quantiles={quantiles}", *overrides)
    logged = run.fit()
    assert {*run.task.metrics, "train/loss_epoch"} <= set(logged)
    assert ("val/coverage" in logged) == (quantiles != "[]")
    found = run.test()
    assert all(np.isfinite(value) for value in [*logged.values(), *found.values()])
    assert set(run.task.baseline) >= {
        f"test/{name}/{key}" for name in ("repeat_last", "linear") for key in ("mse", "mae")
    }


@pytest.mark.parametrize("model", ["encoder_only", "encoder_decoder"])
def test_training_starts_at_the_closed_form(model, file, tmp_path):
    """Without a step, that is what is validated; a checkpoint that is restored has the last word."""
    run = Run(file, tmp_path, f"model={model}", "data.quantiles=[]", "optimizer.lr=0")
    run.fit()
    batch, forecast = forecasts(run)
    weights = torch.from_numpy(ridge(run.data.windows("train"), bias=False)).float()
    last = batch.history[:, -1:]
    expected = torch.einsum("blc,lh->bhc", batch.history - last, weights) + last
    whole = batch.history_seen.all(1).unsqueeze(1).expand_as(expected)
    assert whole.any()
    torch.testing.assert_close(forecast[..., 0][whole], expected[whole], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        run.task.model.way.straight.weight.fill_(0.5)
    saved = tmp_path / "some.ckpt"
    run.task.trainer.save_checkpoint(saved)
    build.trainer(run.cfg, tmp_path / "again", []).fit(run.task, datamodule=run.data, ckpt_path=saved)
    assert (run.task.model.way.straight.weight == 0.5).all()


@models
def test_overfits_one_batch(model, file, tmp_path):
    run = Run(file, tmp_path, f"model={model}", "data.quantiles=[]", "model.dropout=0")
    batch, task = next(iter(run.data.train_dataloader())), run.task.train()
    optimizer = torch.optim.Adam(groups(task.model), lr=5e-3)
    first = task.step(batch).loss.item()
    for _ in range(100):
        optimizer.zero_grad()
        task.step(batch).loss.backward()
        optimizer.step()
    assert task.step(batch).loss.item() < 0.05 * first


def test_scores_do_not_depend_on_the_batches(file, tmp_path, run):
    found = run.test()
    run.data.evaluation_batch = 3
    assert run.test() == pytest.approx(found, rel=1e-5)
    batch, forecast = forecasts(run)
    error = (forecast[..., 1] - batch.future)[batch.future_seen]
    assert found["test/mse"] == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert found["test/mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert len(batch) == 80 - HORIZON + 1


def test_loss_counts_values_that_are_seen(run):
    batch = next(iter(run.data.train_dataloader()))
    assert not batch.future_seen.all()
    task = run.task.eval()
    with torch.no_grad():
        forecast = task.model(batch)
    slow = [
        max(q * (y - f), (q - 1) * (y - f))
        for rows, y, seen in zip(
            forecast.flatten(0, 2), batch.future.flatten(), batch.future_seen.flatten(), strict=True
        )
        for q, f in zip((0.1, 0.5, 0.9), rows, strict=True)
        if seen
    ]
    result = task.step(batch)
    assert result.loss.item() == pytest.approx(float(sum(slow)) / len(slow), rel=1e-4)
    assert result.count == len(batch)
    other = replace(batch, future=torch.where(batch.future_seen, batch.future, 1e6))
    assert task.step(other).loss.item() == pytest.approx(result.loss.item(), rel=1e-6)


def test_a_batch_without_targets_costs_nothing(run):
    batch = next(iter(run.data.train_dataloader()))
    loss = run.task.step(replace(batch, future_seen=torch.zeros_like(batch.future_seen))).loss
    loss.backward()
    assert loss.item() == 0


def test_forecasts_of_windows_that_do_not_overlap_are_written(file, run):
    run.test()
    with (run.folder / "forecasts.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    windows = sorted({int(row["window"]) for row in rows})
    assert windows == list(range(0, 71, HORIZON))
    assert len(rows) == len(windows) * HORIZON * 2
    assert list(rows[0])[-3:] == ["q0.1", "q0.5", "q0.9"]
    with file.open() as lines:
        truth = list(csv.DictReader(lines))
    _, forecast = forecasts(run)
    for row in rows:
        window, step, channel = int(row["window"]), int(row["step"]), CHANNELS.index(row["channel"])
        cell = truth[320 + window + step - 1][row["channel"]]
        assert (row["truth"] == "") == (cell == "")
        if cell:
            assert float(row["truth"]) == pytest.approx(float(cell), rel=1e-4)
        scaling = run.data.scaling
        real = forecast[window, step - 1, channel, 1].item() * scaling.std[0, channel] + scaling.mean[0, channel]
        assert float(row["q0.5"]) == pytest.approx(real, rel=1e-4, abs=1e-4)


def test_every_series_of_a_panel_is_written_from_its_first_step(tmp_path):
    """37 and 31 windows, no multiples of a horizon of 10: no series begins where the one before it would go on."""
    lengths, noise = {"a": 230, "b": 201, "c": 240}, np.random.default_rng(0)
    with (tmp_path / "panel.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["shop", *CHANNELS])
        writer.writerows([shop, *noise.normal(size=2)] for shop, rows in lengths.items() for _ in range(rows))
    run = Run(tmp_path / "panel.csv", tmp_path / "run", "model=encoder_only", "data.id=shop", "data.season=1")
    run.test()
    with (run.folder / "forecasts.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    windows, first = run.data.windows("test"), 0
    for number, (shop, length) in enumerate(lengths.items()):
        count = length // 5 - HORIZON + 1
        assert (windows.series == number).sum() == count
        found = sorted({int(row["window"]) for row in rows if row["series"] == shop})
        assert found == list(range(first, first + count, HORIZON))
        first += count


def test_figures(run):
    run.test()
    for name in ("test_forecasts.png", "test_steps.png"):
        assert (run.folder / "figures" / name).read_bytes().startswith(b"\x89PNG")
    assert not list(run.folder.rglob("*.partial"))


def test_figures_of_a_validation_go_to_tensorboard(run, monkeypatch):
    seen = []
    monkeypatch.setattr(SummaryWriter, "add_figure", lambda self, tag, *_, **__: seen.append(tag))
    run.fit()
    assert [tag for tag in seen if not tag.startswith("attention/")] == ["val/forecasts"]


def test_the_typical_window_has_the_median_error(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(run.task, "_window", lambda *window: drawn.append(window) or real(*window))
    real = type(run.task)._window.__get__(run.task)
    run.test()
    batch, forecast = forecasts(run)
    squares = torch.where(batch.future_seen, (forecast[..., 1] - batch.future).square(), 0)
    errors = squares.sum((1, 2)) / batch.future_seen.sum((1, 2))
    assert [(name, int(some.index)) for name, _, some in drawn] == [
        ("typical", int(errors.argsort()[len(errors) // 2])),
        ("worst", int(errors.argmax())),
    ]
    assert [error for _, error, _ in drawn] == pytest.approx([errors.median().item(), errors.max().item()], rel=1e-4)


def test_other_test_sets_by_their_own_names(file, run):
    own = run.test()
    alone = run.data.tests_alone(str(file))
    found = run.test(alone)
    assert {name for name in found if name.startswith("waves/")} == {name.replace("test/", "waves/") for name in own}
    assert found["test/mse"] == found["waves/mse"]
    assert any(key.startswith("waves/linear/") for key in run.task.baseline)


@pytest.mark.parametrize("season", [24, 25])
def test_a_run_whose_data_is_gone_is_scored_beside_what_needs_no_training(file, run, tmp_path, caplog, season):
    own = run.test(run.data.tests_alone(str(file)))
    expected = {key: value for key, value in run.task.baseline.items() if "/linear/" not in key}
    run.data.save(tmp_path)
    gone = build.data(composed(tmp_path / "gone.csv", "data.quantiles=[0.1,0.5,0.9]")).restore(tmp_path)
    gone.scaling = replace(gone.scaling, season=season)
    run.task.baseline, run.folder = {}, tmp_path / "again"
    with caplog.at_level(logging.WARNING, "manyheads"):
        found = run.test(gone.tests_alone(str(file)))
    assert found["waves/mse"] == own["waves/mse"]
    naive = {key for key in expected if "seasonal_naive" in key} if season > HISTORY else set()
    assert run.task.baseline == {key: value for key, value in expected.items() if key not in naive}
    assert {key.split("/")[1] for key in expected} == {"repeat_last", "seasonal_naive"}
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("manyheads")]
    assert "linear baseline is left out" in said
    assert "gone.csv: there is no such file" in said
    assert "\n" not in said
    written = {path.name for path in run.folder.rglob("*") if path.is_file()}
    assert written >= {"forecasts.csv", "waves_forecasts.png", "waves_steps.png"}


def test_baselines_can_be_left_out(file, tmp_path):
    run = Run(file, tmp_path, "model=encoder_only", "task.baselines=false")
    run.test()
    assert run.task.baseline == {}


def test_weights_that_are_given_are_where_training_starts(file, tmp_path):
    """As pruning begins: with those weights, but an optimizer and loops of its own."""
    run = Run(file, tmp_path, "model=encoder_only", "data.quantiles=[]", "optimizer.lr=0")
    run.task.config = {"ckpt_path": "some.ckpt"}
    with torch.no_grad():
        run.task.model.way.straight.weight.fill_(0.5)
    run.fit()
    assert (run.task.model.way.straight.weight == 0.5).all()
