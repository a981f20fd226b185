"""Quality against what is gone: a line for each method, the base, the control and the bar across."""

from typing import Any

from matplotlib.figure import Figure

from manyheads.measure.pruned.cells import CONTROL, DENSE, ONE_SHOT
from manyheads.measure.pruned.conclusions import percent, title

Row = dict[str, Any]


def curves(found: Row, bar: float) -> Figure:
    """Two panels, over the share of prunable parameters and over the share of FLOPs that is gone."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = {"prunable": "share of prunable parameters gone", "flops": "share of forward FLOPs gone"}
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (key, label) in zip((left, right), panels.items(), strict=True):
        _lines(axes, found, key)
        _levels(axes, found, bar)
        axes.set(xlabel=label, xlim=(-0.02, 1.0))
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(alpha=0.3)
    best = "more is better" if found["best"] == "max" else "less is better"
    left.set_ylabel(f"{found['metric']} ({best})")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9)
    return figure


def _lines(axes: Any, found: Row, key: str) -> None:
    """Every way to prune begins where nothing is pruned: at the control."""
    known = [row for row in found["rows"] if row["quality"] is not None]
    for method in dict.fromkeys(row["method"] for row in known if row["method"] != CONTROL):
        mine = (method,) if method == DENSE else (method, CONTROL)
        points = sorted((row["reached"][key], row["quality"]) for row in known if row["method"] in mine)
        style = {DENSE: "s:", ONE_SHOT: "^--"}.get(method, "o-")
        axes.plot(*zip(*points, strict=True), style, markersize=5, label=title(method))


def _levels(axes: Any, found: Row, bar: float) -> None:
    base = found["base"]["quality"]
    axes.axhline(base, color="black", linewidth=1, label="base, unpruned")
    for row in found["rows"]:
        if row["method"] == CONTROL and row["quality"] is not None:
            axes.axhline(row["quality"], color="black", linewidth=1, linestyle="--", label=title(CONTROL))
    sign = -1 if found["best"] == "max" else 1
    axes.axhline(
        base + sign * bar * abs(base), color="grey", linewidth=1, linestyle=":", label=f"bar: {percent(bar)} worse"
    )
