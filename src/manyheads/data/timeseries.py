"""Series for training and scoring a forecaster; see conf/data/timeseries.yaml for every option."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from manyheads.data.base import SeriesSpec
from manyheads.data.batching import EveryRow, TokenBatches
from manyheads.data.loader import close_finished_epoch, evaluation_loader, share, share_of_training, training_loader
from manyheads.data.series.ahead import Ahead, ahead
from manyheads.data.series.calendar import features
from manyheads.data.series.missing import refuse_missing
from manyheads.data.series.read import Panel, Series, read_panel
from manyheads.data.series.scaling import Scaling, fit
from manyheads.data.series.splits import Borders, Cut, Windows, sift_series, starts
from manyheads.data.series.step import Step
from manyheads.data.series.table import Columns
from manyheads.data.series.windows import SeriesRows, Store
from manyheads.errors import UserError

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "embedded" / "weather.csv.gz"
SPLITS = ("train", "val", "test")


class TimeSeriesData(LightningDataModule):
    """Splits `train`, `val` and `test` of every series, cut into windows.

    After `setup()`: `spec`, `scaling`, `season`, `channels`, `windows(split)`, `train_values()` and the loaders.
    """

    def __init__(
        self,
        path: str | None,
        date: str | None,
        id: str | list[str] | None,
        target: str | list[str] | None,
        known: str | list[str] | None,
        missing: Literal["mask", "ffill", "interpolate", "refuse"],
        on_short: Literal["refuse", "skip"],
        calendar: bool,
        season: int | None,
        history: int,
        horizon: int,
        split: Literal["ratio", "dates", "ett"],
        ratio: list[float],
        val_from: str | None,
        test_from: str | None,
        patch: int,
        stride: int,
        quantiles: list[float],
        every: int,
        batch: int,
        evaluation_batch: int,
        workers: int,
        seed: int,
    ):
        super().__init__()
        self.path = EMBEDDED if path is None else Path(path)
        self.columns = Columns(date, _names(id), None if target is None else _names(target), _names(known))
        self.missing, self.on_short, self.calendar, self._season = missing, on_short, calendar, season
        self.shape = Windows(history, horizon, every)
        self.cut = Cut(split, tuple(ratio), val_from, test_from)
        self.patches = {"patch": patch, "stride": stride, "quantiles": tuple(quantiles)}
        self.batch, self.evaluation_batch, self.workers, self.seed = batch, evaluation_batch, workers, seed
        self.scaling: Scaling | None = None
        self._parts: list[tuple[Series, Borders]] = []
        self._store: Store | None = None
        self._rows: dict[str, SeriesRows] = {}
        _refuse_counts({"batch": batch, "evaluation_batch": evaluation_batch}, "windows")
        _refuse_counts({"season": season} if season is not None else {}, "steps")
        _refuse_shape(self.shape, patch, stride, self.patches["quantiles"])

    def save(self, folder: Path) -> None:
        """Writes scaling.json; its keys are in data/series/scaling.py."""
        self.scaling.save(folder)

    def restore(self, folder: Path) -> "TimeSeriesData":
        """Take a finished run's scaling, columns and step instead of looking at the training part; before `setup`."""
        self.scaling = Scaling.load(folder)
        self.columns = replace(self.columns, target=self.scaling.channels)
        return self

    def prepare_data(self) -> None:
        """Nothing: a file is read as fast as a cache of it would be."""

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits and scales every series, whatever the stage."""
        if self._rows:
            return
        panel = self.read(self.path)
        self._parts, short = sift_series(panel, self.cut, self.shape)
        self._settle_short(short)
        if self.scaling is None:
            self.scaling = self._fit(panel)
        self._store = Store([series for series, _ in self._parts], self.scaling, self.calendar)
        self._rows = {split: self._cut(split) for split in SPLITS}

    @property
    def spec(self) -> SeriesSpec:
        scaling, shape = self.scaling, self.shape
        step = Step.read(scaling.step) if self.calendar and scaling.step else None
        return SeriesSpec(
            kind="timeseries",
            longest=-(-(shape.history + shape.horizon) // self.patches["stride"]) + 1,
            channels=len(scaling.channels),
            history=shape.history,
            horizon=shape.horizon,
            known=len(scaling.known) + len(features(step)),
            **self.patches,
        )

    @property
    def season(self) -> int:
        return self.scaling.season

    @property
    def channels(self) -> tuple[str, ...]:
        return self.scaling.channels

    @property
    def test_names(self) -> list[str]:
        return ["test"]

    def windows(self, split: str) -> SeriesRows:
        """The windows of a split, for baselines: `arrays()` gives all of them, in blocks."""
        return self._rows[split]

    def dates(self, split: str, row: int) -> list[str] | None:
        """Of the horizon of a window; None where the data has none."""
        return self.windows(split).dates(row)

    def train_values(self) -> list[np.ndarray]:
        """(t, c) of each series: its training part, scaled, NaN where missing; in the order of `scaling.series`."""
        return [self._store.of(place, borders.train) for place, (_, borders) in enumerate(self._parts)]

    def train_dataloader(self) -> DataLoader:
        rows = self._rows["train"]
        if self.trainer and self.trainer.overfit_batches:  # the same batches in every epoch
            return self.evaluation(rows, self.batch)
        close_finished_epoch(self.trainer)
        sizes = (rows.lengths, self.batch, len(rows), self.seed)
        batches = TokenBatches(*sizes, **share_of_training(self.trainer))
        return training_loader(rows, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.evaluation(self._rows["val"], self.evaluation_batch)

    def test_dataloader(self) -> list[DataLoader]:
        return [self.evaluation(self._rows["test"], self.evaluation_batch)]

    def tests_alone(self, path: str) -> "SeriesAlone":
        """All windows of another file or folder as one test set, scaled as the run's training data was."""
        return SeriesAlone(self, Path(path))

    def future_of(self, path: str) -> Iterator[Ahead]:
        """What there is to forecast after the end of each series of a file; needs a scaling, no `setup`."""
        return ahead(self.read(Path(path)), self.scaling, self.shape, self.missing, self.calendar)

    def read(self, path: Path) -> Panel:
        """The series of a file, in the columns and at the step of the scaling where there is one."""
        step = Step.read(self.scaling.step) if self.scaling and self.scaling.step else None
        panel = read_panel(path, self.columns, step)
        bare = [series.file for series in panel.series if step and series.dates is None]
        if bare:
            raise UserError(f"{bare[0]} has no dates, but what the run was trained on had; add them, or set data.date.")
        for series in panel.series if self.missing == "refuse" else ():
            refuse_missing(series.values, panel.channels, series.place)
        return panel

    def evaluation(self, rows: SeriesRows, budget: int) -> DataLoader:
        return evaluation_loader(rows, EveryRow(rows.lengths, budget, *share(self.trainer)), self.workers)

    def _cut(self, split: str) -> SeriesRows:
        firsts = [starts(borders, self.shape, split) for _, borders in self._parts]
        series = np.repeat(np.arange(len(firsts)), [len(some) for some in firsts])
        return SeriesRows(self._store, series, np.concatenate(firsts), self.shape, self.missing)

    def _fit(self, panel: Panel) -> Scaling:
        season = self._season
        if season is None:
            season = panel.step.season if panel.step else 1
            if panel.step is None:
                log.warning("%s has no dates to tell its season from: data.season is taken as 1.", self.path)
        parts = [(series, borders.train) for series, borders in self._parts]
        return fit(parts, panel.channels, panel.known, panel.step and str(panel.step), season)

    def _settle_short(self, reasons: list[str]) -> None:
        if reasons and (self.on_short == "refuse" or not self._parts):
            more = f" ({len(reasons):,} such series; data.on_short=skip leaves them out)" if len(reasons) > 1 else ""
            raise UserError(f"{reasons[0].removesuffix('.')}{more}.")
        if reasons:
            log.warning("%s series are left out, being too short: %s", f"{len(reasons):,}", reasons[0])


class SeriesAlone(LightningDataModule):
    """One test set that a run never saw, in the form in which `data` reads its own; see `TimeSeriesData.tests_alone`.

    `windows` of other splits and `train_values` are those of the run's own data, which is read when they are asked for:
    UserError where it is gone.
    """

    def __init__(self, data: TimeSeriesData, path: Path):
        super().__init__()
        self.data, self.path = data, path
        self.scaling, self.season, self.channels = data.scaling, data.season, data.channels
        self._rows = _every_window(data, path)

    @property
    def spec(self) -> SeriesSpec:
        return self.data.spec

    @property
    def test_names(self) -> list[str]:
        name = Path(self.path.name.removesuffix(".gz")).stem
        # The run's own splits keep their names.
        return [f"test_{name}" if name in SPLITS[:2] else name]

    def test_dataloader(self) -> list[DataLoader]:
        return [self.data.evaluation(self._rows, self.data.evaluation_batch)]

    def windows(self, split: str) -> SeriesRows:
        if split in self.test_names:
            return self._rows
        self.data.setup()
        return self.data.windows(split)

    def dates(self, split: str, row: int) -> list[str] | None:
        return self.windows(split).dates(row)

    def train_values(self) -> list[np.ndarray]:
        self.data.setup()
        return self.data.train_values()


def _every_window(data: TimeSeriesData, path: Path) -> SeriesRows:
    panel, needed = data.read(path), data.shape.history + data.shape.horizon
    for series in panel.series:
        if len(series) < needed:
            raise UserError(
                f"{series.file}: series {series.name} has {len(series):,} rows, and a window of this run needs "
                f"{needed:,}; bring a longer one."
            )
    counts = [len(series) - needed + 1 for series in panel.series]
    store = Store(panel.series, data.scaling, data.calendar)
    places = np.repeat(np.arange(len(counts)), counts)
    firsts = np.concatenate([np.arange(count) for count in counts])
    return SeriesRows(store, places, firsts, data.shape, data.missing)


def _names(given: str | list[str] | None) -> tuple[str, ...]:
    """One name may be given without brackets."""
    return (given,) if isinstance(given, str) else tuple(map(str, given or ()))


def _refuse_counts(counts: dict[str, int], what: str) -> None:
    for key, count in counts.items():
        if count < 1:
            raise UserError(f"data.{key}={count} is no number of {what}: give 1 or more.")


def _refuse_shape(shape: Windows, patch: int, stride: int, quantiles: tuple[float, ...]) -> None:
    _refuse_counts(asdict(shape), "steps")
    if not 1 <= stride <= patch <= shape.history:
        raise UserError(
            f"data.stride={stride}, data.patch={patch}, data.history={shape.history}: a stride above the patch leaves "
            "steps unread and a patch does not exceed the history; choose 1 ≤ stride ≤ patch ≤ history."
        )
    if not all(0 < low < high < 1 for low, high in zip((1e-9, *quantiles), (*quantiles, 1 - 1e-9), strict=True)):
        raise UserError(f"data.quantiles={list(quantiles)} have to rise and lie between 0 and 1; [] forecasts points.")
