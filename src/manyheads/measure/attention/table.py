"""The rows as markdown: tables of time and memory for each kind of pass, then errors, duels, and what is missing."""

import statistics
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from manyheads.measure.attention.peers.dense import YARDSTICK
from manyheads.measure.attention.store import Row

MODES = {False: "bidirectional", True: "causal"}
STEPS = {"forward": "forward", "both": "forward + backward"}


def compared(rows: list[Row]) -> None:
    """Adds to each time how many times as fast as the yardstick it is, by either clock, where there is a yardstick."""
    yard = {_place(row): row for row in timed(rows) if row["contestant"] == YARDSTICK}
    for row in timed(rows):
        if _place(row) in yard:
            other = yard[_place(row)]
            row["speed"] = {clock: other[clock] / row[clock] for clock in ("wall", "cpu")}


def timed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["what"] == "time" and row["status"] == "done"]


def _place(row: Row) -> tuple[Any, ...]:
    return (row["dtype"], row["causal"], row["step"], row["length"])


def markdown(about: dict[str, Any], rows: list[Row]) -> str:
    parts = [*_head(about, rows), *_times(rows), *_errors(rows), *_duels(rows), *_missing(rows)]
    return "\n".join(parts) + "\n"


def _head(about: dict[str, Any], rows: list[Row]) -> Iterator[str]:
    settings, here = about["settings"], about["environment"]
    sizes = ", ".join(f"{key} {settings[key]}" for key in ("batch", "heads", "kv_heads", "head_dim", "window"))
    versions = ", ".join(
        f"{name} {version}" for name, version in here["versions"].items() if name in ("torch", "triton")
    )
    commits = sorted(
        {(row.get("commit") or "unknown")[:7] + (" and changes" if row.get("changes") else "") for row in rows}
    )
    yield "# Attention, side by side\n"
    yield f"{about['date']} · {settings['machine']} · {settings['device']} · Python {here['python']}, {versions}\n"
    yield f"    {here['command']}\n"
    yield f"Sizes: {sizes}. Keys overridden: {settings['overrides'] or 'none'}. Commits: {', '.join(commits)}.\n"
    yield from _ceilings(rows)
    if about["left"]:
        yield f"{about['left']} cases are not measured yet; the same command goes on with them.\n"
    yield (
        f"A window of w tokens looks w back where causal, else w/2 to each side. Speed is a multiple of `{YARDSTICK}` "
        "(torch, dense) in the same table, and the percentage is that of this machine's own ceiling: the least time "
        "that the pattern's operations take at the rate of a matrix product of the type, or its bytes at the rate of a "
        "copy, whichever is longer, both sampled between the calls. Operations: 4 · allowed pairs · d forward, 3.5 "
        "times that with the backward; linear rules 4 · n · features · d, and 3 times that. On a CPU speed and "
        "percentage are of processor time, since neighbours disturb the wall's. Memory is the peak over what was there "
        "before the call, derived masks included.\n"
    )


def _ceilings(rows: list[Row]) -> Iterator[str]:
    for dtype in dict.fromkeys(row["dtype"] for row in timed(rows)):
        rates = [row["ceiling"] for row in timed(rows) if row["dtype"] == dtype]
        flops, moved = (statistics.median(rate[key] for rate in rates) for key in ("flops_cpu", "bytes_cpu"))
        rate = f"{flops / 1e9:,.0f} GFLOP/s, copies {moved / 1e9:,.1f} GB/s"
        yield f"Ceiling, {dtype}: {rate} (best of each case, median of all; a CPU's per second of all its threads).\n"


def _times(rows: list[Row]) -> Iterator[str]:
    found = [row for row in rows if row["what"] == "time"]
    order = sorted(found, key=lambda row: (row["dtype"], row["causal"], row["step"] == "both"))
    for (dtype, causal, step), group in groupby(order, key=lambda row: (row["dtype"], row["causal"], row["step"])):
        some = list(group)
        if any(row["status"] == "done" for row in some):
            yield f"## {STEPS[step].capitalize()}, {MODES[causal]}, {dtype}\n"
            clocks = "ms" if _one_clock(some) else "ms, processor / wall"
            yield from _grid(f"{clocks} (speed, of the ceiling)", some, _time)
            yield from _grid("extra peak memory, MiB", some, lambda row: f"{row['extra_mib']:,.0f}")


def _one_clock(rows: list[Row]) -> bool:
    """A device's events know no processor time."""
    return all(row["wall"] == row["cpu"] for row in timed(rows))


def _time(row: Row) -> str:
    speed = f"{row['speed']['cpu']:.2f}×" if "speed" in row else "?"
    share = "?" if row["fraction"] is None else f"{row['fraction']:.0%}"
    both = "" if _one_clock([row]) else f"{row['cpu'] * 1e3:,.1f} / "
    return f"{both}{row['wall'] * 1e3:,.1f} ({speed}, {share})"


def _grid(title: str, rows: list[Row], cell: Callable[[Row], str]) -> Iterator[str]:
    """Contestants by lengths; those that have no figure at all are told at the end."""
    lengths = sorted({row["length"] for row in rows})
    at = {(row["contestant"], row["length"]): row for row in rows}
    names = dict.fromkeys(row["contestant"] for row in rows if row["status"] == "done")
    yield f"| {title} | " + " | ".join(f"{n:,}" for n in lengths) + " |"
    yield "| --- |" + " ---: |" * len(lengths)
    for name in names:
        cells = [at.get((name, n)) for n in lengths]
        yield f"| `{name}` | " + " | ".join("" if r is None else _cell(r, cell) for r in cells) + " |"
    yield ""


def _cell(row: Row, cell: Callable[[Row], str]) -> str:
    return cell(row) if row["status"] == "done" else row["status"]


def _errors(rows: list[Row]) -> Iterator[str]:
    found = [row for row in rows if row["what"] == "error" and row["status"] == "done"]
    if not found:
        return
    yield "## Error against float64\n"
    yield (
        f"Relative, at {found[0]['length']:,} tokens of the same rounded inputs; gradients: the worst of q, k and v. "
        "Against the definition with the same mask, or, where a peer is the only one to know its own function, "
        "against itself in float64, which shows rounding alone.\n"
    )
    yield "| contestant | mode | type | against | forward | gradients |"
    yield "| --- | --- | --- | --- | ---: | ---: |"
    for row in found:
        gradients = "" if row["error_gradients"] is None else f"{row['error_gradients']:.1e}"
        yield (
            f"| `{row['contestant']}` | {MODES[row['causal']]} | {row['dtype']} | {row['against']} "
            f"| {row['error_forward']:.1e} | {gradients} |"
        )
    yield ""


def _duels(rows: list[Row]) -> Iterator[str]:
    found = [row for row in rows if row["what"].startswith("duel") and row["status"] == "done"]
    if not found:
        return
    yield "## Duels\n"
    yield (
        "In turns in one process. Ratio: time per token over that of the first of the group, within a round; median "
        "[10th, 90th percentile]. Above 1, the first is faster.\n"
    )
    yield "| length | mode | pass | type | contestant | cpu ms | wall ms | cpu ratio | wall ratio | rounds |"
    yield "| ---: | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for row in found:
        times = f"{row['cpu'] * 1e3:,.1f} | {row['wall'] * 1e3:,.1f}"
        ratios = " | ".join("{:.2f} [{:.2f}, {:.2f}]".format(*row[key]) for key in ("ratio_cpu", "ratio_wall"))
        yield (
            f"| {row['length']:,} | {MODES[row['causal']]} | {STEPS[row['step']]} | {row['dtype']} "
            f"| `{row['contestant']}` | {times} | {ratios} | {row['rounds']} |"
        )
    yield ""


def _missing(rows: list[Row]) -> Iterator[str]:
    """Each reason once, with the lengths it holds for."""
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        if row["status"] != "done":
            what = "error" if row["what"] == "error" else STEPS[row["step"]]
            key = (row["contestant"], row["status"], row["reason"])
            found.setdefault(key, []).append((MODES[row["causal"]], what, row["dtype"], row["length"]))
    if found:
        yield "## Not measured\n"
    for (name, status, reason), places in found.items():
        yield f"- `{name}` {status} ({_places(places)}): {reason}"
    if found:
        yield ""


def _places(places: list[tuple[Any, ...]]) -> str:
    """All values of each kind that occur."""
    kinds = [dict.fromkeys(place[kind] for place in places) for kind in range(4)]
    return "; ".join(", ".join(f"{v:,}" if isinstance(v, int) else v for v in kind) for kind in kinds)
