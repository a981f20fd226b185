"""What the cells of a benchmark have come to, recounted on their models."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from manyheads.data.batch import Batch
from manyheads.errors import UserError
from manyheads.measure.pruned import quality
from manyheads.measure.pruned.batches import first, tokens
from manyheads.measure.pruned.cells import CONTROL, NEVER, Cell
from manyheads.measure.pruned.runs import note
from manyheads.measure.pruned.sides import Origin, data_of, load
from manyheads.measure.pruned.sizes import file_bytes, flops, parameters
from manyheads.sweep.job import metrics

Row = dict[str, Any]
Count = Callable[[Path], Row]


def counting(base: Path) -> Count:
    """Counts a run's model: parameters, bytes of a file, FLOPs per token of the first batch that the base tests."""
    here = torch.device("cpu")
    batch: Batch = first(data_of(base))

    def count(folder: Path) -> Row:
        side = load(Origin(folder, "trained"), here)
        model, work = side.task.model, flops(side, side.given(batch))
        return {**parameters(model), "bytes": file_bytes(model), "flops_per_token": work / tokens(batch)}

    return count


def gather(base: Path, cells: list[Cell], metric: str, count: Count) -> Row:
    """The base, and a row for each cell: where one cannot be told, its `why` says the reason."""
    own = {**count(base), "quality": measured(base, metric), "folder": shown(str(base)), "steps": steps(base)}
    own["command"] = _command(base, {})
    rows = [_row(cell, own, metric, count) for cell in cells]
    control = next((row["quality"] for row in rows if row["method"] == CONTROL), None)
    for row in rows:
        known = row["quality"] is not None
        row["loss"] = quality.loss(metric, own["quality"], row["quality"]) if known else None
        compared = known and control is not None
        row["loss_to_control"] = quality.loss(metric, control, row["quality"]) if compared else None
    return {"metric": metric, "best": quality.mode_of(metric), "base": own, "rows": rows}


def measured(base: Path, metric: str) -> float:
    """Raises UserError where the base has no such score."""
    content = metrics(base)
    found = quality.value(content, metric)
    if found is None:
        split = metric.partition("/")[0]
        known = [f"{split}/{name}" for name in content.get(split) or {}]
        raise UserError(f"metric={metric} was not measured by {base}; it has {', '.join(known) or 'nothing of it'}.")
    return found


def shown(text: str) -> str:
    """Paths as they are typed from here."""
    return text.replace(f"{Path.cwd()}/", "")


def steps(folder: Path) -> int | None:
    return metrics(folder).get("train", {}).get("steps")


def _row(cell: Cell, base: Row, metric: str, count: Count) -> Row:
    found, told = metrics(cell.folder), note(cell)
    row = {"method": cell.method, "target": cell.target, "folder": shown(str(cell.folder)), "steps": steps(cell.folder)}
    row |= {"command": _command(cell.folder, told)}
    row |= {"reached": None, "file": None, "quality": None, "why": _why_not(found, told)}
    if row["why"] is not None:
        return row
    try:
        sizes = count(cell.folder)
    except (UserError, RuntimeError) as problem:
        return {**row, "why": str(problem).splitlines()[0]}
    reached = {name: _gone(sizes[key], base[key]) for name, key in REACHED.items()}
    value = quality.value(found, metric)
    why = None if value is not None else f"{metric} was not measured."
    return {**row, "reached": reached, "file": sizes["bytes"] / base["bytes"], "quality": value, "why": why}


def _command(folder: Path, told: Row) -> str | None:
    """What it was begun with; a run that the benchmark did not begin knows its command itself."""
    if "command" in told:
        return shown("python " + shlex.join(told["command"]))
    try:
        own = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, KeyError):
        return None
    return shown(re.sub(r"^\S*python\S*", "python", own))


REACHED = {"prunable": "prunable", "whole": "whole", "flops": "flops_per_token"}
"""Shares that are gone, and what they are of."""


def _gone(now: float, before: float) -> float | None:
    return 1 - now / before if before else None


def _why_not(found: Row, told: Row) -> str | None:
    """Why a cell has nothing to tell."""
    status, reason = found.get("status"), found.get("reason") or told.get("reason")
    if status == "finished":
        return None
    if status is None and not told:
        return NEVER
    ended = "It never began" if status is None else "It was cut off" if status == "running" else f"It {_past(status)}"
    return f"{ended}: {reason}" if reason else f"{ended}."


def _past(status: str) -> str:
    return "failed" if status == "failed" else f"was {status}"
