"""Runs the cells of a benchmark, one after the other, each in a process of its own."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.config.places import conf_folder
from manyheads.errors import UserError
from manyheads.measure.pruned.cells import Cell
from manyheads.sweep.job import Job, begun, ended, held, metrics
from manyheads.sweep.process import run_here

NOTE = "cell.json"
"""In a cell's folder: the command that it was begun with, and why it failed if its own record cannot say so."""


def refuse_other(cell: Cell, command: list[str]) -> None:
    """Raises UserError where the folder holds a run of another command."""
    before = note(cell).get("command")
    if begun(cell.folder) and before != command:
        told = "by hand" if before is None else f"by `{shlex.join(before)}`"
        now = shlex.join(command)
        raise UserError(f"{cell.folder} was begun {told}, not by `{now}`: name another folder, or remove that one.")


def run(cell: Cell, command: list[str], retry: bool) -> None:
    """Begins the cell's run or goes on with it; nothing where it has finished, or has failed and `retry` is false."""
    found = metrics(cell.folder)
    if found.get("status") == "finished" or (found.get("status") == "failed" and not retry):
        return
    if held(cell.folder):
        raise UserError(f"{cell.name} is still going, in another process: wait for it, or end it.")
    job = _job(cell, command)
    _write(cell, {"command": command})
    said(f"{cell.name}: {'goes on' if begun(cell.folder) else 'begins'}")
    code = run_here(job)
    outcome = ended(job, code, stopped=False)
    if outcome.status != "finished":
        _write(cell, {"command": command, "reason": outcome.reason})
    said(f"{cell.name}: {outcome.status}" + (f": {outcome.reason}" if outcome.reason else ""))


def leave_out(cell: Cell, reason: str) -> None:
    """A cell that cannot begin yet says why."""
    if not begun(cell.folder):
        _write(cell, {"reason": reason})
    said(f"{cell.name}: left out: {reason}")


def note(cell: Cell) -> dict[str, Any]:
    try:
        return json.loads((cell.folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def said(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _job(cell: Cell, command: list[str]) -> Job:
    """What has begun goes on by train.py, whoever began it."""
    script, *arguments = ["train.py"] if begun(cell.folder) else command
    arguments = [argument for argument in arguments if not argument.startswith("hydra.run.dir=")]
    return Job(0, tuple(arguments), (), cell.folder, (sys.executable, str(_scripts() / script)))


def _scripts() -> Path:
    found = conf_folder().parent
    if not (found / "scripts" / "prune.py").is_file():
        raise UserError(f"{found} holds no scripts/prune.py: run this in a clone of the project, or with train=false.")
    return found


def _write(cell: Cell, content: dict[str, Any]) -> None:
    atomic.write_text(cell.folder / NOTE, json.dumps(content, indent=2) + "\n")
