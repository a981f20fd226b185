"""`resume=FOLDER|auto`: the same run, or sweep, goes on in the same folder, with what it was started with."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from manyheads.config import sweeps
from manyheads.config.older import completed
from manyheads.config.quoting import quoted
from manyheads.errors import UserError

# The other processes of a ddp run have this same command line: they must not choose anew.
CHOSEN = "MANYHEADS_RESUME"


def apply(args: Namespace, conf: Path) -> None:
    """Rewrites a parsed command line that says resume=...; any other is left as it is. Raises UserError."""
    asked = _asked(args.overrides)
    if asked is None:
        return
    others = [o for o in args.overrides if _key(o) != "resume"]
    if Path(asked, sweeps.BOOK).is_file():
        args.multirun, args.overrides = True, sweeps.again(Path(asked), others)
        return
    if args.multirun:
        raise UserError(f"{asked} is no sweep: name its folder for -m to go on with, or leave out -m for a single run.")
    automatic, follows = asked == "auto", _follows()
    folder = _unfinished(others, conf) if automatic else run_folder(asked)
    os.environ[CHOSEN] = str(folder or "")
    args.overrides = others
    if folder is None and not follows:
        print("resume=auto: there is no unfinished run of this command, so a new one starts.")
    if folder is None:
        return
    # What auto found was started by this very command: its choices are in its config already.
    args.overrides = _kept_in(folder) + (_hydras(others) if automatic else _values(others, conf))
    args.config_name = _stored(folder, conf)


def run_folder(text: str | Path) -> Path:
    """The absolute path of a run's folder. Raises UserError where it is not one."""
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{text} is not a run's folder: there is no such folder.")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{text} is not a run's folder: it has no config.yaml. Name a folder that train.py wrote.")
    if not _started(folder):
        raise UserError(f"{text} is not a run's folder: it has neither metrics.json nor checkpoints/.")
    return folder


def run_config(folder: Path) -> dict[str, Any]:
    """The config that a run wrote, as plain values. It may be a stranger's, so nothing in it is resolved.

    What a run of an older version did not know is as conf/ has it.
    """
    path = folder / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a run's config: it holds no keys.")
    _refuse_code(content, path)
    return completed(content)


def _refuse_code(content: dict[str, Any], path: Path) -> None:
    """A run writes its config resolved: an interpolation, or a key that steers Hydra, was put there by someone."""
    for key in ("defaults", "hydra"):
        if key in content:
            raise UserError(f"{path} is not a config that train.py wrote: it has the key {key}.")
    for text in _strings(content):
        if "${" in text:
            raise UserError(f"{path} is not a config that train.py wrote: it has the interpolation {text}.")


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in _strings(item)]


# --- the command line --------------------------------------------------------------------------------------------


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None  # Hydra's own parsing says what is wrong with it


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _asked(overrides: list[str]) -> str | None:
    for override in overrides:
        if _key(override) == "resume":
            parsed = _parsed(override)
            value = override.partition("=")[2] if parsed is None else parsed.value()
            if value == "":
                raise UserError("resume= needs a run's folder, auto or null.")
            return None if value is None else str(value)
    return None


def _hydras(overrides: list[str]) -> list[str]:
    return [o for o in overrides if _key(o).startswith(("hydra.", "hydra/"))]


def _values(overrides: list[str], conf: Path) -> list[str]:
    for override in overrides:
        group = _key(override).partition("@")[0]
        if (conf / group).is_dir() and not group.startswith("hydra"):
            raise UserError(
                f"a resumed run keeps its {group}: leave out {override}, or start a new run without resume=."
            )
    return overrides


def _kept_in(folder: Path) -> list[str]:
    """Hydra goes on in the folder and leaves its notes beside those of the first start.

    They stand first on the line, so that what the user (or Lightning, for its other processes) says wins.
    """
    number = 1 + len(list((folder / ".hydra").glob("resumed_*")))
    return [f"hydra.run.dir={quoted(folder)}", f"hydra.output_subdir=.hydra/resumed_{number}"]


def _stored(folder: Path, conf: Path) -> str:
    """Hands the run's config to Hydra in the place of conf/train.yaml; its name there.

    Keys that a run of an older version did not have yet are as they are there.
    """
    newer = yaml.safe_load((conf / "train.yaml").read_text(encoding="utf-8"))
    defaults = ["schema", {"optional hydra": "default"}, "_self_"]
    content = {**newer, **run_config(folder), "defaults": defaults, "resume": str(folder)}
    ConfigStore.instance().store(name="resumed", node=content, provider="manyheads")
    return "resumed"


# --- auto --------------------------------------------------------------------------------------------------------


def _unfinished(overrides: list[str], conf: Path) -> Path | None:
    """The run that this command started last, if it has not finished."""
    if _follows():
        return Path(os.environ[CHOSEN]) if os.environ[CHOSEN] else None
    wanted = _canonical(overrides)
    started = [path for path in _outputs(overrides, conf).rglob("overrides.yaml") if path.parent.name != ".hydra"]
    for path in sorted(started, key=lambda p: p.stat().st_mtime, reverse=True):
        if _started(path.parent) and (path.parent / "config.yaml").is_file() and _command(path) == wanted:
            return None if _finished(path.parent) else path.parent.absolute()
    return None


def _follows() -> bool:
    """Whether another process of the run has chosen."""
    return CHOSEN in os.environ and any(rank in os.environ for rank in ("LOCAL_RANK", "SLURM_PROCID"))


def _outputs(overrides: list[str], conf: Path) -> Path:
    for override in reversed(overrides):  # as Hydra has it: the last one counts
        if _key(override) == "paths.outputs" and (parsed := _parsed(override)):
            return Path(str(parsed.value()))
    return Path(OmegaConf.load(conf / "paths" / "default.yaml").outputs)


def _command(path: Path) -> list[str] | None:
    try:
        lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return _canonical([str(line) for line in lines or []])


def _canonical(overrides: list[str]) -> list[str]:
    """A command as far as it decides what is trained; `x=null` is how the user wrote what Hydra noted as `~x`."""
    others = (o for o in overrides if _key(o) != "resume" and not _key(o).startswith(("hydra.", "hydra/")))
    return sorted(f"~{o.removesuffix('=null')}" if o.endswith("=null") else o for o in others)


def _started(folder: Path) -> bool:
    return (folder / "metrics.json").is_file() or (folder / "checkpoints").is_dir()


def _finished(folder: Path) -> bool:
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["status"] == "finished"
    except (OSError, ValueError, KeyError, TypeError):
        return False
