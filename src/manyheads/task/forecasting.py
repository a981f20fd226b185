"""Forecasting: every step of the horizon, given the history and what is known of the future beforehand."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manyheads import atomic
from manyheads.baseline.series import Forecast, forecasters, naive, ridge, score
from manyheads.data.base import SeriesSpec
from manyheads.errors import UserError
from manyheads.model.ways import AtOnce
from manyheads.task import series_table
from manyheads.task.answers import Forecasts
from manyheads.task.base import Result, Task
from manyheads.task.series_figures import Window, steps_figure, windows_figure
from manyheads.task.series_scores import Tally, loss_of, scores
from manyheads.training.collectives import gathered

log = logging.getLogger(__name__)


class ForecastingTask(Task):
    """A loss of each value that is there, on the scale of the data; scores over every window of a part.

    loss: of a point forecast: mse, mae or huber, which is quadratic up to an error of `delta` and linear beyond. Where
    the data asks for quantiles, it is their pinball loss.
    start: what the straight way of models that forecast at once begins as: `linear`, the ridge regression of
    baseline/series.py without its bias, or `nothing`.
    baselines: whether the forecasts of baseline/series.py are scored beside a test.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: SeriesSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
        loss: Literal["mse", "mae", "huber"],
        delta: float,
        start: Literal["linear", "nothing"],
        baselines: bool,
    ) -> None:
        super().__init__(model, spec, optimizer, schedule, monitor, mode)
        self.metrics = tuple(f"val/{name}" for name in scores(spec.quantiles))
        self.loss, self.start, self.baselines = loss_of(loss, delta, spec.quantiles), start, baselines
        self.baseline: dict[str, float] = {}
        self.signatures: dict[str, str] = {}
        self._closed: Tensor | None = None
        self._tallies: dict[str, Tally] = {}
        self._kept: dict[str, dict[int, series_table.Kept]] = {}

    def setup(self, stage: str) -> None:
        """Before Lightning restores a checkpoint, which knows better; weights that were given are not begun anew."""
        if stage == "fit" and self.config.get("ckpt_path") is None:
            self.begin(self.trainer.datamodule)

    def begin(self, data: Any) -> bool:
        if self.start == "nothing" or not isinstance(self.model.way, AtOnce):
            return False
        if self._closed is None:
            self._closed = torch.from_numpy(ridge(data.windows("train"), bias=False).T)
        self.model.way.begin(self._closed)
        return True

    def answer(self, model: nn.Module, batch: Any) -> Forecasts:
        return Forecasts(*model.teach(batch))

    def step(self, batch: Any) -> Result:
        answer = self.answer(self.model, batch)
        losses = torch.where(answer.seen, self.loss(answer.values, answer.truth), 0)
        over = answer.seen.sum().clamp(min=1)
        return Result(losses.sum() / over, len(batch), {}, over, answer)

    def validation_step(self, batch: Any, index: int) -> None:
        self._tally("val").add(batch, self.model(batch), self.trainer.datamodule.scaling)

    def on_validation_epoch_end(self) -> None:
        tally = self._close("val")
        if self.trainer.is_global_zero and tally.windows and self._boards():
            self._draw("val", tally, self.trainer.val_dataloaders)

    def test_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        data, forecast = self.trainer.datamodule, self.model(batch)
        name = data.test_names[dataloader_idx]
        self._tally(name).add(batch, forecast, data.scaling)
        self._kept.setdefault(name, {}).update(series_table.kept(batch, forecast, data.scaling, data.windows(name)))

    def on_test_epoch_end(self) -> None:
        data, lines = self.trainer.datamodule, []
        folder = Path(self.trainer.default_root_dir)
        for name, loader in zip(data.test_names, _listed(self.trainer.test_dataloaders), strict=True):
            tally, kept = self._close(name), gathered(self._kept.pop(name, {}))
            self._sign(name, tally)
            if self.trainer.is_global_zero and tally.windows:
                self._compare(name)
                lines += series_table.lines(name, kept, data)
                self._draw(name, tally, loader, folder / "figures")
        if self.trainer.is_global_zero:
            atomic.write_text(folder / "forecasts.csv", series_table.table(lines, self.spec.quantiles))

    def _tally(self, split: str) -> Tally:
        if split not in self._tallies:
            self._tallies[split] = Tally(self.spec.horizon, self.spec.quantiles, self.loss, self.device)
        return self._tallies[split]

    def _close(self, split: str) -> Tally:
        """Logs the scores of all ranks and starts anew; a rank without a window takes part too."""
        tally = self._tally(split).gather()
        del self._tallies[split]
        found = {f"{name}/{key}": value for name in self._titles(split) for key, value in tally.scores().items()}
        self.log_dict(found, rank_zero_only=True)
        return tally

    def _titles(self, split: str) -> list[str]:
        """The first test set speaks for the run where none is called `test`."""
        tests = [] if split == "val" else self.trainer.datamodule.test_names
        return [split, "test"] if tests[:1] == [split] and "test" not in tests else [split]

    @torch.no_grad()
    def _draw(self, split: str, tally: Tally, loader: Any, folder: Path | None = None) -> None:
        """Figures of a split: in a folder, where one is given (then all of them), and in TensorBoard."""
        channels, ranked = self.trainer.datamodule.channels, tally.ranked()
        shown = {"typical": ranked[len(ranked) // 2], "worst": ranked[-1]}
        windows = [self._window(name, tally.windows[row], loader.dataset[[row]]) for name, row in shown.items()]
        figures = {"forecasts": windows_figure(windows, channels, tally.middle)}
        if folder is not None:
            steps = {name: values for name, values in tally.by_step().items() if name in ("mse", "mae", "coverage")}
            figures["steps"] = steps_figure(steps, f"{split}: {len(ranked):,} windows")
        for name, figure in figures.items():
            if folder is not None:
                atomic.write(folder / f"{split}_{name}.png", partial(figure.savefig, format="png", dpi=120))
            for board in self._boards():
                board.experiment.add_figure(f"{split}/{name}", figure, self.global_step)

    def _window(self, name: str, error: float, batch: Any) -> Window:
        """A window forecast again, so that not all forecasts of a test have to be kept."""
        batch = batch.to(self.device)
        undo, series = self.trainer.datamodule.scaling.undo, batch.series
        past = torch.where(batch.history_seen, undo(batch.history, series), torch.nan)
        truth = torch.where(batch.future_seen, undo(batch.future, series), torch.nan)
        parts: tuple[Tensor, ...] = (past, truth, undo(self.model(batch), series))
        return Window(name, error, *(part[0].float().cpu().numpy() for part in parts))

    def _boards(self) -> list[TensorBoardLogger]:
        return [logger for logger in self.trainer.loggers if isinstance(logger, TensorBoardLogger)]

    def _compare(self, split: str) -> None:
        if self.baselines:
            windows = self.trainer.datamodule.windows(split)
            found = {name: score(forecast, windows) for name, forecast in self._forecasters().items()}
            values = {f"{split}/{name}/{key}": value for name, of in found.items() for key, value in of.items()}
            self.baseline |= {key: value for key, value in values.items() if np.isfinite(value)}

    def _forecasters(self) -> dict[str, Forecast]:
        """Of the baselines, those alone that need no training where the training part is gone: a finished run is
        scored from its folder.
        """
        data, spec = self.trainer.datamodule, self.spec
        try:
            train = data.windows("train")
        except UserError as problem:
            log.warning("The linear baseline is left out, since the run's own data cannot be read: %s", problem)
            return naive(spec.history, spec.horizon, data.season)
        return forecasters(train, data.season)

    def _sign(self, split: str, tally: Tally) -> None:
        """What a reader has to know to compare the scores with others."""
        spec, quantiles = self.spec, self.spec.quantiles
        asked = f"history {spec.history}, horizon {spec.horizon}, every one of {len(tally.windows):,} windows"
        self.signatures[f"{split}/mse"] = f"per value, scaled by the training part; {asked}"
        if len(quantiles) > 1:
            band = f"between the quantiles {quantiles[0]:g} and {quantiles[-1]:g}"
            self.signatures[f"{split}/coverage"] = f"{band}, which should hold {quantiles[-1] - quantiles[0]:.3g}"


def _listed(loaders: Any) -> list[Any]:
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]
