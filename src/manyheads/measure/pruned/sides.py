"""A pruned run and the run it came from, as two tasks that compute the same batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from manyheads import build
from manyheads.config.resume import run_config, run_folder
from manyheads.data.base import DataSpec, load_spec
from manyheads.data.batch import Batch
from manyheads.errors import UserError
from manyheads.estimate.step import AUTOCAST, TRUE
from manyheads.load import load_run, read_config
from manyheads.pruning.architecture import FILE

Weights = Literal["trained", "drawn"]


@dataclass(frozen=True)
class Origin:
    """Where one side of a comparison is from; weights: `drawn` is a whole model of the config that nobody trained."""

    folder: Path
    weights: Weights


@dataclass(frozen=True)
class Side:
    """A run's task in the run's own precision, without gradients."""

    origin: Origin
    task: LightningModule
    spec: DataSpec
    config: DictConfig
    device: torch.device

    @property
    def precision(self) -> str:
        return str(self.config.trainer.precision)

    def given(self, batch: Batch) -> Batch:
        """The batch where this side computes, in the type of its weights."""
        dtype = TRUE.get(self.precision)
        return batch.to(self.device)._each(lambda x: x.to(dtype) if dtype and x.is_floating_point() else x)

    def forward(self, batch: Batch) -> None:
        """A forward pass with its loss: what an evaluation takes of a batch."""
        with self.computing():
            self.task.step(batch)

    @contextmanager
    def computing(self) -> Iterator[None]:
        low = AUTOCAST.get(self.precision)
        # Cast anew each time, as Lightning does for each batch of an evaluation.
        with torch.no_grad(), torch.autocast(self.device.type, low or torch.bfloat16, enabled=low is not None):
            yield


def base_of(run: Path, against: Path | None) -> Origin:
    """What a run is compared with: the run whose weights it began with, or a whole model if it began with none."""
    if against is not None:
        return Origin(run_folder(against), "trained")
    run = run_folder(run)
    config = run_config(run)
    began = config.get("ckpt_path")
    given = config.get("prunes") or (began and str(Path(began).parent.parent))
    if not given and not (run / "checkpoints" / FILE).is_file():
        raise UserError(f"{run} was not pruned: prune it by scripts/prune.py run={run}, and name what that makes.")
    if not given:
        return Origin(run, "drawn")
    if not (Path(given) / "config.yaml").is_file():
        raise UserError(
            f"{given}, the run that {run} was pruned from, is gone: name an unpruned run by against=FOLDER."
        )
    return Origin(run_folder(given), "trained")


def load(origin: Origin, device: torch.device) -> Side:
    cfg, spec = read_config(origin.folder), load_spec(origin.folder)
    drawn = origin.weights == "drawn"
    model = build.model(cfg, spec) if drawn else load_run(origin.folder).model
    task = build.task(cfg, model, spec).eval()
    task.requires_grad_(False)  # the loss of a vocabulary makes gradients in its forward
    task.to(device, TRUE.get(str(cfg.trainer.precision)))
    return Side(origin, task, spec, cfg, device)


def refuse_different(base: Side, pruned: Side) -> None:
    """Raises UserError where the two do not read the same data."""
    if base.spec != pruned.spec:
        raise UserError(
            f"{base.origin.folder} is no run to compare {pruned.origin.folder} with: it reads other data, or reads it "
            "in another way; name the run that was pruned by against=FOLDER."
        )


def device_of(name: str) -> torch.device:
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UserError("device=cuda: torch finds no GPU here; leave it out.")
    return torch.device("cuda" if name != "cpu" and found else "cpu")


def data_of(folder: Path) -> Any:
    """A run's data, ready to test."""
    data = build.data(read_config(folder)).restore(folder)
    data.setup("test")
    return data
