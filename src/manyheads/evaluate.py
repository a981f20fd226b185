"""Scores a finished run again, from its folder alone: on its own test sets, or on others."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Evaluate:
    """Scores a run's model on its own test sets, or on those of another folder or file."""

    run: Path = field(metadata={"help": "a run's folder"})
    path: Path | None = field(default=None, metadata={"help": "other test sets; null: the run's own"})
    checkpoint: Literal["best", "last"] = field(default="best", metadata={"help": "which weights"})
    search: Literal["beam", "greedy", "sample"] | None = field(default=None, metadata={"help": "null: as the run did"})
    width: int | None = field(default=None, metadata={"help": "hypotheses of a beam; null: as the run did"})
    accelerator: str = field(default="auto", metadata={"help": "cpu, gpu, …"})


def main() -> None:
    """The command line: `python scripts/evaluate.py run=FOLDER …`."""
    calm_threads()
    sys.exit(guarded(lambda: show(evaluate(parse(Evaluate, sys.argv[1:])))))


def evaluate(asked: Evaluate) -> dict[str, Any]:
    """Metrics of every test set; they and the predictions are written to `evaluations/<time>/` in the run's folder."""
    # Imported here: a typo is answered without waiting for torch.
    from manyheads import atomic, build
    from manyheads.load import read_config
    from manyheads.training import record
    from manyheads.training.quiet import quiet_lightning

    quiet_lightning()
    cfg, moment = read_config(asked.run), time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = asked.run / "evaluations" / f"{moment}-{uuid4().hex[:6]}"
    cfg.trainer.accelerator, cfg.trainer.devices, cfg.trainer.strategy = asked.accelerator, 1, "auto"
    cfg.trainer.num_nodes = 1
    data, task = _data(asked, cfg), _task(asked, cfg)
    trainer = build.evaluator(cfg, folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.test(task, datamodule=data, verbose=False)
    found = {name.removeprefix("test/"): float(value) for name, value in trainer.callback_metrics.items()}
    own = record.read_metrics(asked.run)
    kept = {key: own[key] for key in ("data", "model", "attention", "attention_used", "position", "seed")}
    scores = {"test": found, "baseline": task.baseline, "signatures": task.signatures}
    content = {**kept, "checkpoint": asked.checkpoint, "path": asked.path and str(asked.path), "val": {}, **scores}
    atomic.write_text(folder / "metrics.json", json.dumps(content, indent=2) + "\n")
    return {**content, "folder": folder}


def _data(asked: Evaluate, cfg: "DictConfig") -> Any:
    """The run's own data, or its tests replaced by those of `path`; read as the run read in either case."""
    from manyheads import build

    data = build.data(cfg).restore(asked.run)
    return data if asked.path is None else data.tests_alone(str(asked.path))


def _task(asked: Evaluate, cfg: "DictConfig") -> "LightningModule":
    from manyheads import build
    from manyheads.load import load_run, search_of
    from manyheads.training import checkpoints

    run = load_run(asked.run, asked.checkpoint)
    task = build.task(cfg, run.model, run.spec)
    # The task has found things of its own, such as a threshold.
    task.load_state_dict(checkpoints.load(asked.run / "checkpoints" / f"{asked.checkpoint}.ckpt")["state_dict"])
    if hasattr(task, "search"):
        task.search = search_of(cfg, asked.search, asked.width)
    elif asked.search or asked.width:
        raise UserError(f"search= and width= are for translation; {asked.run} is a run of data={run.spec.kind}.")
    return task


def show(found: dict[str, Any]) -> None:
    """Prints a table, where the files are, and under which signatures the scores can be compared."""
    from rich.console import Console

    from manyheads.training.table import scores

    console = Console()
    console.print(scores(found))
    for name, signature in found["signatures"].items():
        console.print(f"{name}: {signature}", soft_wrap=True)
    console.print(f"Scores and predictions are in {found['folder']}", soft_wrap=True)
