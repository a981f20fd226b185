"""report.csv: a row for each run, with all that its folder says in numbers."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from manyheads.report.content import Content
from manyheads.report.runs import Run

FIRST = ("run", "section", "group", "status", "reason")
NAMED = ("data", "model", "attention", "attention_used", "position", "seed")
SPLITS = ("train", "val", "test", "baseline", "cost")


def page(content: Content) -> str:
    rows = [_row(run, *_place(content, run)) for run in content.runs]
    known = dict.fromkeys(key for row in rows for key in row)
    order = [*FIRST, *NAMED, *(key for key in known if key not in (*FIRST, *NAMED, "command")), "command"]
    text = io.StringIO()
    table = csv.DictWriter(text, order, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _place(content: Content, run: Run) -> tuple[str, str]:
    places = [
        (part.section.title, group.label)
        for part in content.parts
        for group in part.section.groups
        if any(run is one for one in group.runs)
    ]
    return places[0] if places else ("", "")


def _row(run: Run, section: str, group: str) -> dict[str, Any]:
    told = {"run": run.name, "section": section, "group": group, "status": run.status, "reason": run.reason or ""}
    named = {name: "" if run.found.get(name) is None else run.found[name] for name in NAMED}
    numbers = {key: value for split in SPLITS for key, value in _numbers(split, run.found.get(split)).items()}
    return {**told, **named, **numbers, "command": run.command or ""}


def _numbers(place: str, found: Any) -> dict[str, Any]:
    """cost/step_seconds/forward and the like; every digit that the run wrote."""
    if isinstance(found, Mapping):
        return {key: value for name, part in found.items() for key, value in _numbers(f"{place}/{name}", part).items()}
    return {place: found} if found is not None and "/" in place else {}
