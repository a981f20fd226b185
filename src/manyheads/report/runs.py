"""Runs as their folders tell them."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from manyheads.errors import UserError
from manyheads.report import curves

INSIDE = {"checkpoints", "tensorboard", "figures", "evaluations", ".hydra", "previous"}
"""Folders of a run that hold no other run; evaluations have a metrics.json, too."""


@dataclass(frozen=True)
class Run:
    """folder: where it is; name: how the report calls it; found: metrics.json, empty where it cannot be read.

    unreadable: why not. config: config.yaml as plain values; overrides: what was typed; command: the whole line.
    """

    folder: Path
    name: str
    found: Mapping[str, Any] = field(default_factory=dict)
    unreadable: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None

    @property
    def status(self) -> str:
        return "unreadable" if self.unreadable else str(self.found.get("status"))

    @property
    def reason(self) -> str | None:
        if self.status == "running":
            return "it has not ended, or was killed before it could say so"
        return self.unreadable or self.found.get("reason")

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def seed(self) -> Any:
        return self.found.get("seed")

    def value(self, metric: str) -> float | None:
        """`test/accuracy`, `cost/train_seconds`, …; None where it was not measured."""
        split, _, name = metric.partition("/")
        part = self.found.get(split)
        value = part.get(name) if isinstance(part, Mapping) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @cached_property
    def monitor(self) -> str | None:
        """What the best weights were chosen by."""
        return _within(self.config, "task.monitor")

    def curve(self, tag: str) -> curves.Curve:
        return self._curves.get(tag, [])

    @cached_property
    def _curves(self) -> dict[str, curves.Curve]:
        wanted = {"train/loss", "val/loss", self.monitor}
        return curves.read(self.folder / "tensorboard", {tag for tag in wanted if tag})

    def setting(self, key: str) -> Any:
        """The value of a key that was typed: of a group the name of its file, else what the config has."""
        found = _within(self.config, key)
        if isinstance(found, Mapping) or (found is None and key in self.choices):
            return self.choices.get(key, json.dumps(found, sort_keys=True, default=str))
        return found


def find(folders: list[Path]) -> list[Run]:
    """The runs in and below these folders, each once. Raises UserError for a folder that is missing or has none."""
    paths: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name folders of runs, such as outputs/multirun/TIME.")
        below = list(_below(folder))
        if not below:
            raise UserError(f"{folder} holds no run: no folder in it has a metrics.json.")
        paths = {path.resolve(): _plain(path) for path in below} | paths
    root = common(folders)
    return [_read(path, _name(path, root)) for path in sorted(paths.values(), key=_natural)]


def common(folders: list[Path]) -> Path:
    """The folder in which all of them are."""
    first, *others = [_plain(folder) for folder in folders]
    kept = [first, *first.parents]
    return next(one for one in kept if all(one in (other, *other.parents) for other in others))


def _plain(path: Path) -> Path:
    """Absolute and without dots, but through links, which are how a user has put runs together."""
    return Path(os.path.abspath(path))


def _below(folder: Path) -> Iterator[Path]:
    """A run's folder holds none but those that were pruned from it; a job of a sweep that died before it wrote anything
    left its output alone.
    """
    if (folder / "metrics.json").exists():
        yield folder
        if (folder / "pruned").is_dir():
            yield from _below(folder / "pruned")
        return
    below = sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in INSIDE)
    found = [run for path in below for run in _below(path)]
    if not found and (folder / "output.log").is_file():
        yield folder
    yield from found


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Job 10 of a sweep comes after job 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]


def _name(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return path.name if relative == "." else relative


def _read(folder: Path, name: str) -> Run:
    try:
        found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Run(folder, name, unreadable=f"it ended before it wrote metrics.json{_last_line(folder)}")
    except (OSError, ValueError) as problem:
        return Run(folder, name, unreadable=f"metrics.json is damaged ({_short(problem)})")
    if not isinstance(found, dict) or "status" not in found:
        return Run(folder, name, unreadable="metrics.json is not that of a run")
    config, overrides, hydra = (_yaml(folder / part) for part in ("config.yaml", "overrides.yaml", ".hydra/hydra.yaml"))
    told = _json(folder / "environment.json").get("command")
    return Run(
        folder,
        name,
        found,
        config=config if isinstance(config, dict) else {},
        overrides=tuple(map(str, overrides)) if isinstance(overrides, list) else (),
        choices=_within(hydra, "hydra.runtime.choices") or {},
        command=_command(told, overrides),
    )


def _command(told: Any, overrides: Any) -> str | None:
    """As it was typed; of a run that was gone on with, what began it."""
    if isinstance(overrides, list) and (not isinstance(told, str) or " resume=" in told):
        return shlex.join(["python", "train.py", *map(str, overrides)])
    return told if isinstance(told, str) else None


def _last_line(folder: Path) -> str:
    """What a job that never began said at the end."""
    text = (folder / "output.log").read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return f": {(errors or lines)[-1]}" if lines else ""


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _short(problem: Exception) -> str:
    return str(problem).splitlines()[0]


def _within(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
