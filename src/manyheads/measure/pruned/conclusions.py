"""What the rows of a benchmark say, in sentences made of their numbers alone."""

from collections.abc import Iterator
from typing import Any

from manyheads.measure.pruned.cells import CONTROL, DENSE, ONE_SHOT

Row = dict[str, Any]

TITLES = {
    "l0": "L0", "taylor": "Taylor", "magnitude": "magnitude", "movement": "movement", "random": "random",
    ONE_SHOT: "one-shot magnitude", DENSE: "a dense model of that size", CONTROL: "recovery training alone",
}  # fmt: skip


def sentences(found: Row, bar: float) -> list[str]:
    """The control, each cell, what is best at each target, and how far each method stays within the bar."""
    rows = [row for row in found["rows"] if row["loss"] is not None]
    pruned = [row for row in rows if row["method"] != CONTROL]
    if found["base"]["quality"] == 0:
        return [f"The base has {found['metric']} = 0, of which nothing can be lost or gained."]
    parts = (_control(found, rows), _cells(found, pruned, bar), _best(pruned), _far(pruned, bar))
    return [sentence for part in parts for sentence in part]


def changed(loss: float) -> str:
    """`0.4% worse`, `1.2% better`."""
    size = f"{abs(loss):.1%}"
    return "no worse" if size == "0.0%" else f"{size} {'worse' if loss > 0 else 'better'}"


def percent(share: float) -> str:
    """As it was asked for: 70%, 99.9%."""
    return f"{round(100 * share, 6):g}%"


def title(method: str) -> str:
    return TITLES.get(method, method)


def _control(found: Row, rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row["method"] == CONTROL:
            yield (
                f"Recovery training alone, with nothing pruned, is {changed(row['loss'])} in {found['metric']} than "
                "the base."
            )


def _cells(found: Row, rows: list[Row], bar: float) -> Iterator[str]:
    for row in rows:
        place = "within" if row["loss"] <= bar else "beyond"
        against = row["loss_to_control"]
        beside = "" if against is None else f" (than recovery training alone: {changed(against)})"
        yield (
            f"{percent(row['target'])} ({row['reached']['prunable']:.1%} reached): {title(row['method'])} is "
            f"{changed(row['loss'])} in {found['metric']}, {place} the bar of {percent(bar)}{beside}."
        )


def _best(rows: list[Row]) -> Iterator[str]:
    """Of the methods; the baselines are told beside them already."""
    for target in sorted({row["target"] for row in rows}):
        here = [row for row in rows if row["target"] == target and row["method"] not in (DENSE, ONE_SHOT)]
        if len(here) > 1:
            first, second = sorted(here, key=lambda row: row["loss"])[:2]
            apart = 100 * (second["loss"] - first["loss"])
            yield (
                f"At {percent(target)} {title(first['method'])} is best, {apart:.1f} points of relative loss "
                f"ahead of {title(second['method'])}."
            )


def _far(rows: list[Row], bar: float) -> Iterator[str]:
    for method in dict.fromkeys(row["method"] for row in rows):
        good = [row for row in rows if row["method"] == method and row["loss"] <= bar]
        if not good:
            yield f"{title(method).capitalize()} is beyond the bar of {percent(bar)} at every target."
            continue
        reached = max(good, key=lambda row: row["reached"]["prunable"])["reached"]
        beyond = [row for row in rows if row["method"] == method and row["reached"]["prunable"] > reached["prunable"]]
        yield (
            f"{title(method).capitalize()} is within the bar of {percent(bar)} with {reached['prunable']:.1%} of the "
            f"prunable parameters gone, {reached['whole']:.1%} of the whole model and {reached['flops']:.1%} of its "
            f"FLOPs{', and beyond it where more is gone' if beyond else ''}."
        )


def missing(found: Row) -> Iterator[str]:
    """What the table has no numbers of, and why."""
    for row in found["rows"]:
        if row["why"] is not None:
            yield f"{title(row['method']).capitalize()} at {percent(row['target'])} is not in this: {row['why']}"
