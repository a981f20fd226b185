"""The callback that shows in TensorBoard and in `figures/` where the heads of a model look while it trains.

It watches what validation computes anyway: no pass of its own, no random number, nothing that ranks would wait for.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from manyheads import atomic
from manyheads.analysis.blocks import Map, mapped
from manyheads.analysis.capture import Read, captured
from manyheads.analysis.figures import layer_figure, pixels
from manyheads.analysis.labels import Labels
from manyheads.attention.choice import say_once
from manyheads.errors import UserError

EACH = 2
"""Queries that stand for a block of several."""

DPI = 90
"""Of images: names of tokens can just be read."""

GUESS = 0.3
"""Seconds for a figure, before one was drawn."""


class AttentionMaps(Callback):
    """Draws maps of the first validation document, and logs entropy, distance and disagreement of heads.

    documents: of the first validation batch, over which the numbers are means. cells: the most of a map's side.
    attentions: how many of the model's are drawn, evenly chosen; None: all. share: the part of the training's time that
    maps may take while it lasts: they come at the first validation that affords them, then at one twice as late, and so
    on. at_end: the part that those of the last validation may take behind its end, also as files; None: any.
    """

    def __init__(self, documents: int, cells: int, attentions: int | None, share: float, at_end: float | None) -> None:
        for key, value in (("documents", documents), ("cells", cells), ("attentions", attentions)):
            if value is not None and value < 1:
                raise UserError(f"callbacks.attention_maps.{key}={value} must be 1 or more.")
        for key, value in (("share", share), ("at_end", at_end)):
            if value is not None and value < 0:
                raise UserError(f"callbacks.attention_maps.{key}={value} is no share of time: set 0 or more.")
        self.documents, self.cells, self.attentions = documents, cells, attentions
        self.share, self.at_end = share, at_end
        self._watching, self._reads = ExitStack(), {}
        self._began, self._spent, self._cost, self._drawn_at, self._step = 0.0, 0.0, None, 0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == dataloader_idx == 0 and _looks(trainer):
            self._reads = self._watching.enter_context(captured(pl_module.model, self.documents))
            self._step = trainer.global_step

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._watching.close()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._reads and _looks(trainer) and self._step >= 2 * self._drawn_at and self._affords(self.share):
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._reads and (self.at_end is None or self._affords(self.at_end)):
            self._show(trainer, pl_module, Path(trainer.default_root_dir) / "figures")
        self._reads = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._watching.close()

    def _affords(self, share: float) -> bool:
        """Whether the next maps would leave all of them within this share of the time so far."""
        cost = GUESS * self._chosen(len(self._reads)) if self._cost is None else self._cost
        return self._spent + cost <= share * (time.perf_counter() - self._began)

    def _show(self, trainer: Trainer, pl_module: LightningModule, folder: Path | None = None) -> None:
        begun = time.perf_counter()
        labels = Labels(pl_module.model, pl_module.spec, trainer.datamodule)
        drawn = maps(self._reads, self.cells)
        boards = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        for name, value in numbers(drawn).items():
            for board in boards:
                board.add_scalar(f"attention/{name}", value, self._step)
        for name in evenly(list(drawn), self._chosen(len(drawn))):
            title = f"{name}, the first document of validation at step {self._step:,}"
            image = pixels(layer_figure(drawn[name][0], labels.on_axes(self._reads[name][0]), title), DPI)
            for board in boards:
                board.add_image(f"attention/{name}", image, self._step, dataformats="HWC")
            if folder is not None:
                save(image, folder / f"attention_{name}.png")
        self._cost = time.perf_counter() - begun
        self._spent, self._drawn_at = self._spent + self._cost, max(1, self._step)

    def _chosen(self, count: int) -> int:
        return count if self.attentions is None else min(count, self.attentions)


def _looks(trainer: Trainer) -> bool:
    """One process alone, in validations of a training that a board is kept of."""
    board = any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers)
    training = trainer.state.fn == "fit" and not trainer.sanity_checking and not trainer.fast_dev_run
    return board and training and trainer.is_global_zero


def maps(reads: dict[str, list[Read]], cells: int) -> dict[str, list[Map]]:
    """Of each attention and document; attentions that have no weights are left out, and said once."""
    found = {}
    for name, of_documents in reads.items():
        try:
            found[name] = [mapped(read, cells, EACH) for read in of_documents]
        except UserError as reason:
            say_once(f"No map of {name} is drawn: {reason}")
    return found


def numbers(drawn: dict[str, list[Map]]) -> dict[str, float]:
    """Means over attentions, documents and heads; distance of attention within a sequence alone."""
    every = [one for of_documents in drawn.values() for one in of_documents]
    found = {
        "entropy": [one.entropy for one in every],
        "distance": [one.distance for one in every if one.distance is not None],
        "disagreement": [one.disagreement[np.triu_indices(len(one.heads), 1)] for one in every],
    }
    values = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}
    return {name: float(x[~np.isnan(x)].mean()) for name, x in values.items() if (~np.isnan(x)).any()}


def evenly(names: list[str], count: int) -> list[str]:
    """So many of them; the first and the last are among them, where there is more than one."""
    if count >= len(names):
        return names
    return [names[at * (len(names) - 1) // max(1, count - 1)] for at in range(count)]


def save(image: np.ndarray, path: Path) -> None:
    """A PNG, whole or not at all."""
    from matplotlib.image import imsave

    atomic.write(path, lambda partial: imsave(partial, image, format="png"))
