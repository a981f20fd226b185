"""A layer's map as a figure: a panel for each head, with what it may see outlined."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from manyheads.analysis.blocks import Map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READABLE = 40
"""Tokens up to which an axis names each of them."""

LONGEST = 12
"""Letters of a name."""

COLUMNS, MOST = 4, 16
"""Panels of a row, and of a figure."""


def layer_figure(one: Map, labels: tuple[list[str], list[str]], title: str) -> "Figure":
    """Darker: more weight, by its square root, so that small ones are seen; each head has a scale of its own."""
    heads = range(min(len(one.heads), MOST))
    figure, axes = _grid(one, len(heads))
    for head, at in enumerate(axes.flat):
        if head < len(heads):
            _panel(at, one, head)
        else:
            at.set_axis_off()
    _ticks(axes, one, labels)
    left_out = f"; {len(heads)} of {len(one.heads)} heads" if len(heads) < len(one.heads) else ""
    cell = "" if one.exact else "; a cell is the sum over its keys, a mean over queries"
    figure.text(0.5, 1 - 0.12 / figure.get_figheight(), f"{title}{left_out}{cell}", ha="center", va="top", fontsize=9)
    return figure


def pixels(figure: "Figure", dpi: int) -> Int[np.ndarray, "height width 3"]:
    """The figure as it looks, drawn once for all that show it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Letters that the font has not are boxes; that is all there is to say.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _grid(one: Map, heads: int) -> tuple["Figure", np.ndarray]:
    """Panels with room for the names beside and below them; a layout that looks for it would take twice as long."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, heads)
    rows = -(-heads // columns)
    tall, wide = (_side(len(edges) - 1, edges[-1]) for edges in (one.rows, one.columns))
    width, height = (wide + 0.15) * columns + 0.8, (tall + 0.3) * rows + 1.15
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    edge = {"left": 0.7 / width, "right": 1 - 0.1 / width, "top": 1 - 0.5 / height, "bottom": 0.75 / height}
    figure.subplots_adjust(**edge, wspace=0.15 / wide, hspace=0.3 / tall)
    return figure, axes


def _side(cells: int, tokens: int) -> float:
    """Inches: room for names where there are any."""
    return float(np.clip(0.13 * cells, 1.8, 5.2)) if tokens <= READABLE else 2.6


def _panel(at: "Axes", one: Map, head: int) -> None:
    from matplotlib.collections import LineCollection

    mass = one.mass[head]
    at.imshow(np.sqrt(mass), cmap="Blues", vmin=0, vmax=max(np.sqrt(mass.max()), 1e-12), aspect="auto")
    at.add_collection(LineCollection(outline(one.seen[head]), colors="tab:orange", linewidths=0.7))
    far = "" if one.distance is None else f", {one.distance[head]:.3g} away"
    at.set_title(f"head {one.heads[head]}: {one.effective[head]:.3g} keys{far}", fontsize=7)
    at.tick_params(labelsize=6, length=1.5)


def outline(seen: Bool[np.ndarray, "y x"]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Lines between cells of which one may be seen and the other not, in the coordinates of `imshow`."""
    found = []
    for y, x in np.argwhere(seen[1:] != seen[:-1]):
        found.append(((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)))
    for y, x in np.argwhere(seen[:, 1:] != seen[:, :-1]):
        found.append(((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)))
    return found


def _ticks(axes: np.ndarray, one: Map, labels: tuple[list[str], list[str]]) -> None:
    """All panels share them; queries stand at the left, keys at the bottom."""
    axes[0][0].set_yticks(*_places(one.rows, labels[0]))
    axes[0][0].set_xticks(*_places(one.columns, labels[1]))
    for at in axes[-1]:
        at.tick_params(axis="x", rotation=90)
        at.set_xlabel("keys", fontsize=7)
    for row in axes:
        row[0].set_ylabel("queries", fontsize=7)


def _places(edges: Int[np.ndarray, "y1"], labels: list[str]) -> tuple[list[int], list[str]]:
    """Each token by its name, or a few numbers of tokens."""
    count = len(edges) - 1
    if edges[-1] <= READABLE:
        return list(range(count)), [_escaped(label) for label in labels[:count]]
    places = list(range(0, count, max(1, count // 8)))
    return places, [_few(labels[edges[place]], edges[place]) for place in places]


def _few(label: str, number: int) -> str:
    """Times speak for themselves; words of a long text do not, and where they stand does."""
    return label if label.startswith(("t+", "t−")) else str(number)


def _escaped(text: str) -> str:
    """As it stands: a dollar would begin a formula. Long names would leave the picture."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text.replace("$", r"\$")
