"""The prunings of a benchmark: one cell for each method and target, and the command that runs it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from manyheads.config.names import did_you_mean
from manyheads.config.places import conf_folder
from manyheads.config.quoting import quoted
from manyheads.config.resume import run_config
from manyheads.errors import UserError
from manyheads.measure.pruned.asked import Pruning, shares
from manyheads.pruning.architecture import FILE
from manyheads.sweep.job import metrics

CONTROL, DENSE, ONE_SHOT = "control", "dense", "one_shot"
YARDSTICK = "magnitude"
"""Whose sizes the dense models have, and whose way the control goes, at which nothing is drawn by chance."""

NEVER = "It has not been run."

OWN = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "resume", "arch", "pruning", "hydra", "ckpt_path")
"""What a dense training decides for itself."""

CELLS = {
    "pruning.target": "say targets=… instead.",
    "pruning": "say methods=… instead.",
    "pruning/method": "say methods=… instead.",
    "hydra.run.dir": "say folder=… instead.",
}

PLACE = ("data.path", "data.workers", "trainer", "logger", "paths", "preflight")
"""Of what is handed on to prune.py, what a dense training takes too: where it computes, not how it is pruned."""


@dataclass(frozen=True)
class Cell:
    """A run of the benchmark; folder: its own."""

    method: str
    target: float
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name


def plan(asked: Pruning) -> list[Cell]:
    """The control first, then target by target, so that what is gathered early can be compared."""
    methods, wanted = _named("methods", asked.methods, _known()), shares("targets", asked.targets)
    baselines = [] if asked.baselines == "none" else _named("baselines", asked.baselines, [ONE_SHOT, DENSE])
    pairs = [(CONTROL, 0.0)] if 0 in wanted else []
    pairs += [(method, target) for target in wanted if target for method in dict.fromkeys([*methods, *baselines])]
    cells = [Cell(method, target, asked.folder.absolute() / f"{method}-{target:g}") for method, target in pairs]
    _refuse_unmeasured(cells)
    return cells


def refuse_own(overrides: list[str]) -> None:
    """Raises UserError for what each cell has its own of: a second one would win, and the table tell of the first."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in CELLS:
            raise UserError(f"{override}: every pruning has its own {key}; {CELLS[key]}")


def command(cell: Cell, asked: Pruning, overrides: list[str]) -> list[str]:
    """The script and its arguments. Raises UserError where a dense one has no size yet."""
    base = asked.run.expanduser().absolute()
    if cell.method == DENSE:
        return ["train.py", *_dense(cell, base, overrides), f"hydra.run.dir={plain(cell.folder)}"]
    method = YARDSTICK if cell.method == CONTROL else cell.method
    told = [f"run={base}", f"pruning={method}", f"pruning.target={cell.target:g}", *overrides]
    return ["scripts/prune.py", *told, f"hydra.run.dir={plain(cell.folder)}"]


def plain(path: Path | str) -> str:
    """A path as one types it for Hydra: quoted where it must be."""
    return str(path) if re.fullmatch(r"[\w./-]+", str(path), re.ASCII) else quoted(path)


def _dense(cell: Cell, base: Path, overrides: list[str]) -> list[str]:
    """The base's own command, at the size that the yardstick has left, for as many steps as both trainings took."""
    other = cell.folder.with_name(f"{YARDSTICK}-{cell.target:g}")
    found, size = metrics(other), other / "checkpoints" / FILE
    if found.get("status") != "finished" or not size.is_file():
        raise UserError(f"{cell.name} has no size to be trained at: {other.name} has not finished.")
    steps = budget(base, other)
    said = [o for o in _said(base) if not o.lstrip("+~").startswith(OWN)]
    where = [o for o in overrides if o.startswith(PLACE) and not o.startswith(OWN)]
    length = [f"trainer.max_steps={steps}", "trainer.max_epochs=-1", "trainer.max_time=null"]
    return list(dict.fromkeys([*said, *_data(base), *where, f"arch={plain(size)}", *length]))


def budget(base: Path, pruned: Path) -> int:
    """Steps of the optimizer that the base's training and the pruning took together."""
    steps = [metrics(folder).get("train", {}).get("steps") for folder in (base, pruned)]
    if None in steps:
        raise UserError(f"Nothing says how many steps {base} and {pruned} took, so no dense training can be as long.")
    return sum(steps)


def _said(base: Path) -> list[str]:
    """What the base was started with."""
    config: dict[str, Any] = run_config(base)
    if config.get("ckpt_path") or config.get("prunes"):
        raise UserError(
            f"{base} did not begin from nothing, so no dense training can be like it: leave dense out of baselines."
        )
    try:
        return [str(line) for line in yaml.safe_load((base / "overrides.yaml").read_text(encoding="utf-8")) or []]
    except (OSError, yaml.YAMLError) as problem:
        raise UserError(f"{base / 'overrides.yaml'} cannot be read, which a dense training needs.") from problem


def _data(base: Path) -> list[str]:
    path = (run_config(base).get("data") or {}).get("path")
    return [f"data.path={plain(path)}"] if isinstance(path, str) else []


def _known() -> list[str]:
    return sorted(path.stem for path in (conf_folder() / "pruning").glob("*.yaml") if path.stem != "default")


def _named(key: str, text: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"{key}={text}: {name} is not known.{near} There are {', '.join(known)}.")
    return names


def _refuse_unmeasured(cells: list[Cell]) -> None:
    names = {cell.name for cell in cells}
    for cell in cells:
        other = f"{YARDSTICK}-{cell.target:g}"
        if cell.method == DENSE and other not in names and not cell.folder.with_name(other).exists():
            raise UserError(
                f"baselines={DENSE} trains a model of the size that {YARDSTICK} leaves: add {YARDSTICK} to methods, or "
                f"leave {DENSE} out."
            )
