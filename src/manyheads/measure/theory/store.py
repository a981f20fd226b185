"""Figures of cells in a folder, a file each, so that a benchmark goes on where it was stopped."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.config.names import did_you_mean
from manyheads.errors import UserError
from manyheads.measure.theory.lesson import said

Figures = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is measured once: its name, what tells it from the others, and the arguments of train.py that make it."""

    name: str
    traits: Figures
    overrides: tuple[str, ...]


def filled(
    folder: Path, cells: Iterable[Cell], settings: Figures, measure: Callable[[Cell], Figures] | None
) -> list[Figures]:
    """The figures of all cells that have any. measure: makes those that are missing; None: nobody does.

    A cell of other arguments or `settings` than asked is measured anew. A UserError of one cell is its result.
    """
    found = []
    for number, cell in enumerate(cells := list(cells), 1):
        asked = {"overrides": list(cell.overrides), "settings": settings}
        figures = _read(folder / f"{cell.name}.json", asked)
        if figures is None and measure is not None:
            figures = _measured(cell, measure)
            atomic.write_text(folder / f"{cell.name}.json", json.dumps({**asked, "figures": figures}, indent=2) + "\n")
            said(f"{number} of {len(cells)}: {cell.name}")
        if figures is not None:
            found.append({**cell.traits, **figures})
    return found


def _measured(cell: Cell, measure: Callable[[Cell], Figures]) -> Figures:
    try:
        return measure(cell)
    except UserError as problem:
        return {"refused": str(problem)}


def _read(path: Path, asked: Figures) -> Figures | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("figures") if all(content.get(key) == value for key, value in asked.items()) else None


def names(key: str, text: str, known: list[str]) -> list[str]:
    """Names with commas between them; a UserError for one that is not known."""
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in known:
            raise UserError(
                f"{key}={text}: {name} is not known.{did_you_mean(name, known)} There are {', '.join(known)}."
            )
    return found


def options(group: str) -> list[str]:
    """Files of a folder of conf/."""
    from manyheads.config.places import conf_folder

    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))
