"""Time and memory against length, both axes logarithmic: a slope of one is linear, of two quadratic."""

from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.measure.attention.store import Row
from manyheads.measure.attention.table import MODES, STEPS, timed

LINES = {"float32": "-", "bfloat16": "--", "float16": ":"}
MARKERS = "osv^D<>PX*hp"


def plot(folder: Path, rows: list[Row]) -> None:
    """attention.png and attention.svg; nothing where nothing was timed."""
    found = timed(rows)
    if not found:
        return
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text, and the same rows give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "manyheads"})
    figure = _figure(found)
    for kind in ("png", "svg"):
        metadata = {"Date": None} if kind == "svg" else None
        atomic.write(
            folder / f"attention.{kind}",
            lambda path, kind=kind, metadata=metadata: figure.savefig(
                path, format=kind, dpi=140, bbox_inches="tight", metadata=metadata
            ),
        )


def _figure(rows: list[Row]) -> Any:
    from matplotlib.figure import Figure

    columns = sorted({(row["causal"], row["step"]) for row in rows}, key=lambda c: (c[0], c[1] == "both"))
    figure = Figure(figsize=(4.6 * len(columns) + 2.5, 8))
    axes = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey="row")
    for (causal, step), (times, memories) in zip(columns, axes.T, strict=True):
        some = [row for row in rows if (row["causal"], row["step"]) == (causal, step)]
        times.set_title(f"{STEPS[step]}, {MODES[causal]}")
        _panel(times, some, rows, lambda row: row["cpu"] * 1e3)
        # What needs no more than a page has no place on a logarithmic axis.
        _panel(memories, [row for row in some if row["extra_mib"] > 0], rows, lambda row: row["extra_mib"])
        memories.set_xlabel("tokens")
    device_alone = all(row["cpu"] == row["wall"] for row in rows)
    axes[0][0].set_ylabel("ms" if device_alone else "ms of processor time")
    axes[1][0].set_ylabel("extra peak memory, MiB")
    _legend(figure, axes)
    return figure


def _panel(axis: Any, rows: list[Row], everyone: list[Row], value: Any) -> None:
    """A line for each contestant and type; colours are those of all rows, so that panels agree."""
    import matplotlib

    names = list(dict.fromkeys(row["contestant"] for row in everyone))
    for name, dtype in dict.fromkeys((row["contestant"], row["dtype"]) for row in rows):
        own = sorted((r for r in rows if (r["contestant"], r["dtype"]) == (name, dtype)), key=lambda r: r["length"])
        number = names.index(name)
        axis.plot(
            [row["length"] for row in own],
            [value(row) for row in own],
            LINES[dtype],
            color=matplotlib.colormaps["tab20"](number % 20),
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            label=name if dtype == "float32" else f"{name}, {dtype}",
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    lengths = sorted({row["length"] for row in everyone})
    axis.set_xticks(lengths, labels=[str(n) for n in lengths])
    axis.minorticks_off()
    axis.grid(True, which="major", alpha=0.3)


def _legend(figure: Any, axes: Any) -> None:
    known = {}
    for axis in axes.flat:
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
            known.setdefault(label, line)
    figure.legend(
        known.values(), known.keys(), loc="center left", bbox_to_anchor=(0.92, 0.5), fontsize=8, frameon=False
    )
