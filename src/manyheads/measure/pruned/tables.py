"""The report in words and tables: as markdown, and on the screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]
Line = tuple[str, str, str, str]

HEAD = ("", "base", "pruned", "left")
MIB = 2**20

BUSY = 1.2
"""Wall over processor's time from which on a machine was not for this measurement alone."""


def size_lines(found: Figures) -> Iterator[Line]:
    """Name, base, pruned, and what is left of the base."""
    parameters = found["parameters"]
    for part, name in (("whole", "parameters"), ("prunable", "… in prunable sublayers"), ("embedding", "… in tables")):
        base, pruned = (parameters[side][part] for side in ("base", "pruned"))
        yield name, f"{base:,}", f"{pruned:,}", _share(parameters["left"][part])
    stored, work, memory = found["bytes"], found["flops_per_token"], found["memory"]
    yield "weights on disk, MiB", *(f"{stored[side] / MIB:,.2f}" for side in ("base", "pruned")), _share(stored["left"])
    yield "MFLOP per token", *(f"{work[side] / 1e6:,.3f}" for side in ("base", "pruned")), _share(work["left"])
    if memory is not None and None not in memory.values():
        mib = [f"{memory[side] / MIB:,.1f}" for side in ("base", "pruned")]
        yield f"memory of {_size(memory)}, MiB", *mib, _share(memory["pruned"] / max(memory["base"], 1))


def quality_lines(found: Figures) -> Iterator[Line]:
    """Metric, base, pruned, and by how much it is worse."""
    for row in found["quality"]["rows"]:
        yield row["metric"], f"{row['base']:.4g}", f"{row['pruned']:.4g}", worse(row["loss"])


SPEED = (
    "rows × tokens", "base ms", "pruned ms", "tokens/s", "pruned", "speed-up", "by FLOPs", "of that", "processor",
)  # fmt: skip
SHORT = (0, 1, 2, 5, 6, 7)
"""Columns of it that a screen has room for."""


def speed_lines(found: Figures) -> Iterator[tuple[str, ...]]:
    for row in found["speed"]:
        yield _timed(_size(row), row, f"{row['predicted']:.2f}", f"{row['of_predicted_wall']:.2f}")
    if found["writing"] is not None:
        yield _timed(f"writing {found['writing']['sentences']}", found["writing"], "", "")


def _timed(name: str, row: Figures, *foretold: str) -> tuple[str, ...]:
    sides = [row[side] for side in ("base", "pruned")]
    median, low, high = row["speed_up_wall"]
    times = [f"{side['wall'] * 1e3:,.2f}" for side in sides]
    rates = [f"{side['tokens_per_second']:,.0f}" for side in sides]
    return (name, *times, *rates, f"{median:.2f} ({low:.2f}–{high:.2f})", *foretold, f"{row['speed_up_cpu'][0]:.2f}")


def markdown(found: Figures) -> str:
    parts = [
        f"# Pruned: {Path(found['run']).name}", "",
        *(f"- {line}" for line in about(found)), "",
        _table(HEAD, size_lines(found)), "",
        _table(("quality", "base", "pruned", "relative change"), quality_lines(found)), "",
        _table(SPEED, speed_lines(found)), "",
        *(f"- {line}" for line in words(found)), "",
        "![what is left per layer and head](figures/kept.png)",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def about(found: Figures) -> Iterator[str]:
    """What was measured, and where."""
    drawn = found["base_weights"] == "drawn"
    yield f"pruned: {found['run']}"
    yield "base: a whole model of the same config, untrained" if drawn else f"base: {found['base']}"
    precision = " and ".join(sorted(set(found["precision"].values())))
    yield f"{found['device']}, {found['threads']} threads, precision {precision}, {found['date']}"
    yield (
        "times: medians of forward passes with their loss, both sides in turns in one process; speed-up: of each "
        "round, median (10th–90th percentile); by FLOPs: what arithmetic foretells; of that: measured / foretold; "
        "processor: the speed-up by processor time"
    )


def words(found: Figures) -> Iterator[str]:
    """What the numbers say of each other."""
    ratios = found["ratios"]
    speed = ratios["speed_up_to_predicted"]
    yield f"The file is {ratios['file_to_parameters']:.2f} of what the parameters that are left would make of it."
    for name, by in (("By the clock on the wall", "wall"), ("By the processor's time", "cpu")):
        found_by = speed[by]
        yield (
            f"{name}, the speed-up is {found_by['median']:.2f} of what FLOPs foretell (median over sizes; "
            f"{found_by['least']:.2f} to {found_by['most']:.2f})."
        )
    if ratios["waited"] > BUSY:
        yield (
            f"The wall took up to {ratios['waited']:.1f} times the processor's time, since others computed on this "
            "machine meanwhile: trust the processor's."
        )
    rounds = sorted({row["rounds"] for row in found["speed"]})
    yield f"Rounds of each size: {' to '.join(str(n) for n in dict.fromkeys((rounds[0], rounds[-1])))}."
    if found["writing"]:
        yield f"Rounds of writing: {found['writing']['rounds']}."
    if found["quality"]["why"]:
        yield f"Quality is not compared: {found['quality']['why']}."
    yield (
        "Memory is not measured."
        if found["memory"] is None
        else ("Memory: the weights and a forward pass in a process of its own, the least of several.")
    )


def worse(loss: float | None) -> str:
    """A relative loss in words."""
    if loss is None:
        return "—"
    return f"{abs(loss):.2%} {'worse' if loss > 0 else 'better'}" if loss else "the same"


def show(found: Figures, folder: Path) -> None:
    """The same on the screen."""
    console = Console()
    console.print(_rich("Pruned, beside what it came from", HEAD, size_lines(found)))
    console.print(_rich("Quality", ("", "base", "pruned", "change"), quality_lines(found)))
    lines = ((line[column] for column in SHORT) for line in speed_lines(found))
    console.print(_rich("Speed", tuple(SPEED[column] for column in SHORT), lines))
    for line in words(found):
        console.print(line)
    console.print(f"All of it is in {folder / 'pruning.md'} and {folder / 'pruning.json'}", soft_wrap=True)


def _rich(title: str, head: tuple[str, ...], lines: Iterator[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for line in lines:
        table.add_row(*line)
    return table


def _table(head: tuple[str, ...], lines: Iterator[tuple[str, ...]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in (head, *lines)]
    return "\n".join([rows[0], "|---|" + "--:|" * (len(head) - 1), *rows[1:]])


def _share(left: float | None) -> str:
    return "—" if left is None else f"{left:.1%}"


def _size(row: Figures) -> str:
    return f"{row['batch']} × {row['length']}"
