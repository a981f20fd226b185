"""A pruned run and the run it came from, side by side in one process, and the files that tell of it."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.config.resume import run_folder
from manyheads.errors import UserError
from manyheads.measure.pruned import quality
from manyheads.measure.pruned.batches import first, lengths_of, sized, tokens
from manyheads.measure.pruned.figure import kept
from manyheads.measure.pruned.peak import TIMES, peaks
from manyheads.measure.pruned.sides import Side, base_of, data_of, device_of, load, refuse_different
from manyheads.measure.pruned.sizes import PARTS, file_bytes, flops, left, parameters
from manyheads.measure.pruned.speed import overall, speed, threads, waited, writing
from manyheads.measure.pruned.tables import markdown, show
from manyheads.training import record

Figures = dict[str, Any]

SENTENCES = 32
"""Written by each side in a turn."""


def report(
    run: Path,
    against: Path | None = None,
    rounds: int = 30,
    lengths: list[int] | None = None,
    batches: tuple[int, ...] = (1, 32),
    seconds: float = 120.0,
    device: str = "auto",
    processes: int = TIMES,
) -> Figures:
    """All that is measured. Raises UserError where one of both runs is not there, or they cannot be compared.

    seconds: after so long no further round of a size begins. processes: of each side, for its memory; 0: none.
    """
    if rounds < 1:
        raise UserError(f"rounds={rounds} must be 1 or more.")
    run = run_folder(run)
    scored = _scored(run)
    sides = _sides(run, against, device)
    own = first(data_of(run))
    lengths = lengths or lengths_of(own, sides["base"].spec)
    sizes = [(rows, length) for length in lengths for rows in batches]
    timed = speed(sides, own, sizes, rounds, seconds)
    largest = sized(own, sides["base"].spec, max(batches), max(lengths))
    wrote = writing(sides, own, SENTENCES, max(1, rounds // 6), seconds)
    memory = {"batch": max(batches), "length": max(lengths), **peaks(sides, largest, processes)} if processes else None
    return {**_about(sides), **_sizes(sides, own, timed), "speed": timed, "writing": wrote, "memory": memory,
            "quality": _quality(sides, scored), "left": left(sides["pruned"].task.model)}  # fmt: skip


def publish(found: Figures, folder: Path) -> None:
    """pruning.json, pruning.md and figures/kept.png of a folder; and a table on the screen."""
    atomic.write_text(folder / "pruning.json", json.dumps(found, indent=2) + "\n")
    atomic.write_text(folder / "pruning.md", markdown(found))
    picture = kept(found["left"])
    atomic.write(folder / "figures" / "kept.png", partial(picture.savefig, format="png", dpi=120))
    show(found, folder)


def _sides(run: Path, against: Path | None, device: str) -> dict[str, Side]:
    from manyheads.measure.pruned.sides import Origin

    where = device_of(device)
    origins = {"base": base_of(run, against), "pruned": Origin(run, "trained")}
    sides = {name: load(origin, where) for name, origin in origins.items()}
    refuse_different(**sides)
    return sides


def _about(sides: dict[str, Side]) -> Figures:
    base, pruned = sides["base"], sides["pruned"]
    return {
        "run": str(pruned.origin.folder),
        "base": str(base.origin.folder),
        "base_weights": base.origin.weights,
        "date": time.strftime("%Y-%m-%d"),
        "device": record.device_name(base.device),
        "threads": threads(),
        "precision": {name: side.precision for name, side in sides.items()},
        "environment": record.environment(),
    }


def _sizes(sides: dict[str, Side], own: Any, timed: list[Figures]) -> Figures:
    """What is counted, and what it says beside what was timed."""
    counts = {name: parameters(side.task.model) for name, side in sides.items()}
    stored = {name: file_bytes(side.task.model) for name, side in sides.items()}
    work = {name: flops(side, side.given(own)) / tokens(own) for name, side in sides.items()}
    share = {part: _ratio(counts["pruned"][part], counts["base"][part]) for part in PARTS}
    return {
        "parameters": {**counts, "left": share},
        "bytes": {**stored, "left": _ratio(stored["pruned"], stored["base"])},
        "flops_per_token": {**work, "left": _ratio(work["pruned"], work["base"]), "tokens": tokens(own)},
        "ratios": {
            "file_to_parameters": stored["pruned"] / stored["base"] / share["whole"],
            "speed_up_to_predicted": overall(timed),
            "waited": waited(timed),
        },
    }


def _ratio(now: float, before: float) -> float | None:
    return now / before if before else None


def _scored(run: Path) -> Figures:
    found = record.read_metrics(run)
    if found.get("status") != "finished":
        raise UserError(f"{run} is {found.get('status')}, not finished: go on with it first (train.py resume={run}).")
    return found


def _quality(sides: dict[str, Side], pruned: Figures) -> Figures:
    base = sides["base"].origin
    if base.weights == "drawn":
        return {"rows": [], "why": "it was pruned while it trained, so there is no trained whole model beside it"}
    rows = quality.compared(record.read_metrics(base.folder), pruned)
    return {"rows": rows, "why": None if rows else f"{base.folder} and the pruned run have no score in common"}
