"""How far each position reads beyond the trained length: sentences, a table and curves by place."""

import math
from dataclasses import MISSING, fields
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from manyheads.measure.theory.asked import Extrapolation
from manyheads.measure.theory.extrapolation import PARTS
from manyheads.measure.theory.formal_report import COLOURS
from manyheads.measure.theory.store import Figures
from manyheads.measure.theory.written import command, table, write

Way = dict[str, Any]


def publish(found: list[Figures], asked: Extrapolation, overrides: list[str], output: Path) -> None:
    ways = gathered(found)
    sentences = [told(way) for way in ways]
    defaults = {field.name: field.default for field in fields(Extrapolation) if field.default is not MISSING}
    typed = command("extrapolation", asked, defaults, overrides)
    text = markdown(ways, sentences, asked)
    write(output, typed, {"sentences": sentences, "ways": ways, "cells": found}, text, draw(ways, asked.length))
    print("\n".join([*sentences, f"{output.with_suffix('')}.json, .md and .png"]))


def gathered(found: list[Figures]) -> list[Way]:
    """One for each position and scaling: at each multiple the curve (means over seeds) or the refusal."""
    cells: dict[tuple[str, str], list[Figures]] = {}
    for cell in found:
        for scaling, read in cell.get("read", {}).items():
            cells.setdefault((cell["position"], scaling), []).append({"read": read, "forgetting": cell["forgetting"]})
    return [_way(position, scaling, each) for (position, scaling), each in cells.items()]


def _way(position: str, scaling: str, cells: list[Figures]) -> Way:
    curves = {m: _mean([cell["read"][m].get("curve") for cell in cells]) for m in cells[0]["read"]}
    refused = {m: cells[0]["read"][m]["refused"] for m, curve in curves.items() if curve is None}
    forgetting = _mean([cell["forgetting"] for cell in cells])
    name = position if scaling == "none" else f"{position}, {scaling}"
    return {"name": name, "curves": curves, "refused": refused, "forgetting": forgetting}


def _mean(curves: list[list[float] | None]) -> list[float] | None:
    return None if None in curves else [mean(points) for points in zip(*curves, strict=True)]


def last(curve: list[float]) -> float:
    """Perplexity of the last stretch as long as the trained length."""
    return math.exp(mean(map(math.log, curve[-PARTS:])))


def told(way: Way) -> str:
    """What one reader is worth at the furthest places, against the same model that forgets."""
    shown = ", ".join(f"{last(curve):.1f} at {m}" for m, curve in way["curves"].items() if curve)
    said = f"{way['name']}: perplexity {shown}"
    if way["refused"]:
        return f"{said}; at {' and '.join(way['refused'])} it is refused: {next(iter(way['refused'].values()))}"
    furthest, forgets = last(list(way["curves"].values())[-1]), last(way["forgetting"])
    gain = furthest / forgets - 1
    worth = "no better than" if abs(gain) < 0.01 else f"{abs(gain):.0%} {'better' if gain < 0 else 'worse'} than"
    return f"{said}; there {worth} forgetting all at every trained length ({forgets:.1f})."


def markdown(ways: list[Way], sentences: list[str], asked: Extrapolation) -> str:
    multiples = list(ways[0]["curves"]) if ways else []
    rows = [[way["name"], *(_cell(way, m) for m in multiples), f"{last(way['forgetting']):.1f}"] for way in ways]
    lines = [
        "# Reading beyond the trained length",
        "",
        f"Perplexity per token of the last {asked.length} tokens of inputs 1, 2 and 4 times as long as the trained",
        f"{asked.length} tokens; {asked.steps} steps, seeds {asked.seeds}. Scalings of rope are applied when reading,",
        "with the factor of the column, to the weights trained without.",
        "",
        *[f"- {sentence}" for sentence in sentences],
        "",
        table(["position", *multiples, "forgetting"], rows),
        "",
    ]
    return "\n".join(lines)


def _cell(way: Way, multiple: str) -> str:
    return f"{last(way['curves'][multiple]):.1f}" if way["curves"][multiple] else "refused"


def draw(ways: list[Way], length: int) -> Figure:
    """Perplexity by place, of inputs of the greatest multiple; a refused one ends where its table does."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes, step = figure.subplots(), length // PARTS
    for way, colour in zip(ways, COLOURS * len(ways), strict=False):
        curve = next(found for found in reversed(way["curves"].values()) if found)
        places = [step * (at + 0.5) for at in range(len(curve))]
        style = "-" if "," not in way["name"] else "--"
        axes.plot(places, curve, style, color=colour, marker="o", markersize=3, label=way["name"])
        if way["refused"]:
            axes.plot(places[-1], curve[-1], "x", color=colour, markersize=10)
    if ways:
        forgetting = ways[0]["forgetting"]
        places = [step * (at + 0.5) for at in range(len(forgetting))]
        axes.plot(places, forgetting, ":", color="#333333", label=f"{ways[0]['name']}, forgetting every {length}")
    axes.axvspan(0, length, color="#f0f0e8", zorder=0)
    axes.set(yscale="log", xlabel=f"place in the text (trained: {length})", ylabel="perplexity per token")
    axes.set_title("Reading beyond the trained length; × : refused from there on", fontsize=10, loc="left")
    axes.legend(fontsize=8)
    return figure
