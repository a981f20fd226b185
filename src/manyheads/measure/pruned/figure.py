"""What is left of each layer: a cell for each head, a bar for the neurons, and where a sublayer is gone, that."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

OPEN, SHUT, EDGE, GONE = "#2f6f9f", "#e6e6e6", "#ffffff", "#b03a2e"
TITLES = {"read_own": "heads that read their own sequence", "read_context": "heads that read the source",
          "think": "neurons"}  # fmt: skip

Left = dict[str, dict[str, Any]]


def kept(left: Left) -> Figure:
    """A row for each layer, a column for each kind of sublayer. left: as `sizes.left` gives it."""
    blocks, columns = _grid(left)
    figure = Figure(figsize=(2.2 + 3.6 * len(columns), 1.3 + 0.36 * len(blocks)), layout="constrained")
    every = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(every, columns, strict=True):
        for row, block in enumerate(blocks):
            if (entry := left.get(f"{block}.{column}")) is not None:
                _draw(axes, row, entry)
        _finish(axes, column, blocks, labelled=axes is every[0])
    figure.suptitle("What pruning has left: blue is kept, grey is gone", fontsize=10)
    return figure


def _grid(left: Left) -> tuple[list[str], list[str]]:
    """Names of layers in their order, and of the kinds of sublayers that they have."""
    split = [name.rpartition(".") for name in left]
    columns = list(dict.fromkeys(kind for _, _, kind in split))
    order = [*TITLES, *columns]
    return list(dict.fromkeys(block for block, _, _ in split)), sorted(columns, key=order.index)


def _draw(axes: Axes, row: int, entry: dict[str, Any]) -> None:
    if entry["left"] is None:
        _bar(axes, row, 1.0, SHUT, hatch="///")
        axes.text(0.5, row, "sublayer gone", ha="center", va="center", color=GONE, fontsize=8, fontweight="bold")
    elif entry["kind"] == "heads":
        _heads(axes, row, entry["of"], entry["heads"])
    else:
        _bar(axes, row, 1.0, SHUT)
        _bar(axes, row, entry["left"] / entry["of"], OPEN)
    if entry["left"] is not None:
        axes.text(1.02, row, f"{entry['left']} of {entry['of']}", va="center", fontsize=8)


def _heads(axes: Axes, row: int, of: int, heads: list[int]) -> None:
    for head in range(of):
        colour = OPEN if head in heads else SHUT
        axes.add_patch(Rectangle((head / of, row - 0.4), 1 / of, 0.8, facecolor=colour, edgecolor=EDGE))


def _bar(axes: Axes, row: int, share: float, colour: str, hatch: str | None = None) -> None:
    axes.add_patch(Rectangle((0, row - 0.4), share, 0.8, facecolor=colour, edgecolor=EDGE, hatch=hatch))


def _finish(axes: Axes, column: str, blocks: list[str], labelled: bool) -> None:
    axes.set(xlim=(0, 1.3), ylim=(len(blocks) - 0.5, -0.5), xticks=[])
    axes.set_title(TITLES.get(column, column), fontsize=9, loc="left")
    axes.set_yticks(range(len(blocks)), [_short(block) for block in blocks] if labelled else [])
    axes.tick_params(length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _short(block: str) -> str:
    """`body.encoder.blocks.3` is layer 3 of the encoder."""
    return " ".join(part for part in block.split(".") if part not in ("body", "blocks"))
