"""Prunes a finished run: a run of its own, with the finished one's config, which begins with its best weights."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.config_store import ConfigStore

from manyheads.config.arguments import guarded, parse, usage
from manyheads.config.launch import launch
from manyheads.config.names import did_you_mean
from manyheads.config.places import conf_folder
from manyheads.config.quoting import quoted
from manyheads.config.resume import run_config, run_folder
from manyheads.errors import UserError
from manyheads.train import share, train

if TYPE_CHECKING:
    from omegaconf import DictConfig

NAME = "pruned"
"""Of the config that Hydra is handed in the place of conf/train.yaml."""

FIXED = ("model.", "attention.", "attentions.", "position.", "data.")
"""What makes a run's weights what they are."""

FREE = ("model.dropout", "attention.kernel", "attention.strict", "attention.dropout", "data.path", "data.batch")
"""What may change all the same."""

MOST = 1000
"""Times as long, or as fast, as the run's own training: more is a slip of the hand."""


@dataclass(frozen=True)
class Prune:
    """Prunes a finished run and trains what is left of it, in a new folder below the run's own.

    All other arguments are values of train.py's config (pruning.target=0.5, optimizer.lr=1e-4, trainer.max_epochs=2).
    """

    run: Path = field(metadata={"help": "a finished run's folder"})
    pruning: str = field(metadata={"help": "how: l0, magnitude, taylor, movement, random, one_shot"})
    length: float | None = field(
        default=None, metadata={"help": "so many times the run's epochs; null: conf/prune.yaml"}
    )
    lr: float | None = field(default=None, metadata={"help": "so many times its learning rate; null: conf/prune.yaml"})
    report: bool = field(default=False, metadata={"help": "measure both side by side at the end"})


def main() -> None:
    """The command line: `python scripts/prune.py run=FOLDER pruning=NAME …`."""
    sys.exit(prune(sys.argv[1:]))


def prune(argv: list[str]) -> int:
    """Runs the pruning; the exit code, as `train.py` has it."""
    found: list[tuple[list[str], Prune]] = []
    code = guarded(lambda: found.append(_prepared(argv)))
    if code or not found:
        return code
    overrides, asked = found[0]
    code = launch(_pruned if asked.report else train, overrides, share=share)
    return code


def _prepared(argv: list[str]) -> tuple[list[str], Prune]:
    """Hands Hydra the run's config; the command line that goes with it."""
    own = {"run", "pruning", "length", "lr", "report"}
    if not argv or {"-h", "--help"} & set(argv):
        print(usage(Prune))
        raise SystemExit(0)
    others = [a for a in argv if a.partition("=")[0] not in own]
    asked = parse(Prune, [a for a in argv if a not in others])
    _refuse(others)
    folder = run_folder(asked.run)
    best = folder / "checkpoints" / "best.ckpt"
    _refuse_unfinished(folder, best)
    content = _config(folder, asked)
    ConfigStore.instance().store(name=NAME, node=content, provider="manyheads")
    given = {o.partition("=")[0].lstrip("+") for o in others}
    place = [] if "hydra.run.dir" in given else [f"hydra.run.dir={quoted(folder / 'pruned' / '${stamp:}')}"]
    # As overrides, so that the run's own list of them tells all that is not the base's.
    begin = [f"prunes={quoted(folder)}", f"ckpt_path={quoted(best)}"]
    changes = [*begin, *(f"{key}={value}" for key, value in _shorter(content, asked).items()), *others]
    if os.environ.get("LOCAL_RANK", "0") == "0" and not any(argument.startswith("-") for argument in others):
        print(f"The config of {folder} with pruning={asked.pruning} {' '.join(changes[1:])}")
    return ["--config-name", NAME, *place, *changes], asked


def _config(folder: Path, asked: Prune) -> dict[str, Any]:
    """The run's own, with another pruning than it may have had."""
    conf = conf_folder()
    known = sorted(path.stem for path in (conf / "pruning").glob("*.yaml") if path.stem != "default")
    if asked.pruning not in known:
        raise UserError(
            f"pruning={asked.pruning} is not known.{did_you_mean(asked.pruning, known)} There are {', '.join(known)}."
        )
    newer = yaml.safe_load((conf / "train.yaml").read_text(encoding="utf-8"))
    content = {**newer, **run_config(folder)}
    # A method for which distillation has its own group is composed anew, not taken from the base.
    content.pop("pruning", None)
    defaults = ["schema", "_self_", {"pruning": asked.pruning}, {"optional hydra": "default"}]
    return {**content, "defaults": defaults, "resume": None, "arch": None}


def _shorter(content: dict[str, Any], asked: Prune) -> dict[str, Any]:
    """A shorter and calmer training than the run's own."""
    shares = yaml.safe_load((conf_folder() / "prune.yaml").read_text(encoding="utf-8"))
    shares |= {key: own for key in ("length", "lr") if (own := getattr(asked, key)) is not None}
    for key, value in shares.items():
        if not 0 < value <= MOST:
            raise UserError(f"{key}={value} is no number of times: set a number above 0, and at most {MOST:,}.")
    trainer = content["trainer"]
    bounds = [key for key in ("max_epochs", "max_steps") if trainer.get(key) not in (None, -1)]
    found = {f"trainer.{key}": max(1, round(shares["length"] * trainer[key])) for key in bounds}
    if trainer.get("max_time") is not None:
        found["trainer.max_time"] = "null"
    return {**found, "optimizer.lr": shares["lr"] * content["optimizer"]["lr"]}


def _refuse_unfinished(folder: Path, best: Path) -> None:
    import json

    try:
        status = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{folder / 'metrics.json'} cannot be read, so nothing says how this run ended.") from problem
    if status != "finished":
        raise UserError(f"{folder} is {status}, not finished: go on with it first (python train.py resume={folder}).")
    if not best.is_file():
        raise UserError(f"{best} is not there: without its weights there is nothing to prune.")


def _refuse(others: list[str]) -> None:
    """What would be another model or other data, a sweep, or a group that the run has decided."""
    for argument in others:
        key = argument.partition("=")[0].lstrip("+~")
        if argument in ("-m", "--multirun"):
            raise UserError("prune.py prunes once; for many prunings there is scripts/benchmark.py pruning.")
        if key in ("resume", "ckpt_path", "arch"):
            raise UserError(
                f"{key}= does not go with prune.py, which begins with the run's best weights: a pruning that "
                "was cut off goes on by python train.py resume=FOLDER."
            )
        if (conf_folder() / key).is_dir() and not key.startswith(("hydra", "pruning/")):
            raise UserError(
                f"{argument}: the run has decided its {key}; values change by their path ({key}.KEY=VALUE)."
            )
        if key.startswith(FIXED) and not key.startswith(FREE):
            raise UserError(f"{argument} would be another model, or other data, than the run's: leave it out.")


def _pruned(cfg: "DictConfig") -> Any:
    """The training, and then the report."""
    from hydra.core.hydra_config import HydraConfig
    from lightning.pytorch.utilities import rank_zero_only

    found = train(cfg)
    if rank_zero_only.rank == 0 and not cfg.estimate:
        from manyheads.measure.pruned.report import publish, report

        folder = Path(HydraConfig.get().runtime.output_dir)
        publish(report(folder, Path(cfg.prunes)), folder)
    return found
