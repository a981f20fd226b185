"""What the models made of the languages: sentences, a table and curves by the length of the words."""

from dataclasses import MISSING, fields
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manyheads.config.compose import compose
from manyheads.measure.theory.asked import Formal
from manyheads.measure.theory.store import Figures
from manyheads.measure.theory.written import command, table, write

TITLES = {"parity": "PARITY", "anbn": "aⁿbⁿ", "dyck": "Dyck-{kinds}"}
COLOURS = ["#2f6f9f", "#c8553d", "#588b4a", "#8b6fb0", "#b0883a", "#3a9aa8", "#666666", "#d986b0", "#1f1f1f"]
KNOWN, LOST = 0.95, 0.6
"""From here on a language counts as recognised; up to here, as guessed (which is 0.5)."""

Group = dict[str, Any]


def publish(found: list[Figures], asked: Formal, overrides: list[str], output: Path) -> None:
    kinds = compose(["data=formal_language", *overrides]).data.kinds
    groups = grouped(found, kinds)
    sentences = [line for language in _languages(groups) for line in told(groups, language)]
    defaults = {field.name: field.default for field in fields(Formal) if field.default is not MISSING}
    typed = command("formal", asked, defaults, overrides)
    write(output, typed, {"sentences": sentences, "cells": found}, markdown(groups, sentences, asked), draw(groups))
    print("\n".join([*sentences, f"{output.with_suffix('')}.json, .md and .png"]))


def grouped(found: list[Figures], kinds: int) -> list[Group]:
    """Means over seeds of what differs in nothing else; refused cells have no scores. kinds: of Dyck's brackets."""
    groups: dict[tuple, list[Figures]] = {}
    for cell in found:
        groups.setdefault(tuple(cell[key] for key in ("language", "attention", "position", "layers")), []).append(cell)
    return [_group(key, cells) | {"title": TITLES[key[0]].format(kinds=kinds)} for key, cells in groups.items()]


def _group(key: tuple, cells: list[Figures]) -> Group:
    made = dict(zip(("language", "attention", "position", "layers"), key, strict=True))
    scored = [cell["scores"] for cell in cells if "scores" in cell]
    if not scored:
        return {**made, "refused": cells[0]["refused"]}
    parts = [name.removeprefix("recognised_") for name in scored[0] if name.startswith("recognised_")]
    curves = {kind: {p: mean(s[f"{kind}_{p}"] for s in scored) for p in parts} for kind in ("recognised", "accuracy")}
    baseline = {name: {p: values[f"recognised_{p}"] for p in parts} for name, values in cells[0]["baseline"].items()}
    return {**made, **curves, "seeds": len(scored), "baseline": baseline}


def told(groups: list[Group], language: str) -> list[str]:
    """What each can and cannot do, and who reads furthest."""
    own = [group for group in groups if group["language"] == language and "recognised" in group]
    if not own:
        return []
    good, bad = ([group for group in own if (_trained(group) >= KNOWN) is known] for known in (True, False))
    lines = [f"{own[0]['title']}: {_count(len(good), len(own))} the words of trained lengths that they had not seen."]
    if bad:
        lines.append(f"  Not so: {', '.join(f'{name(g)} ({_trained(g):.2f})' for g in bad)}.")
    lines += [f"  {_reach(group)}" for group in sorted(own, key=lambda g: -min(_beyond(g).values(), default=0.0))]
    return [*lines, f"  {_furthest(own)}"]


def _furthest(own: list[Group]) -> str:
    """Who is best where words are longest, beside those who look at five symbols alone."""
    part = list(own[0]["recognised"])[-1]
    best = max(own, key=lambda group: group["recognised"][part])
    beside = own[0]["baseline"].get("5-gram", {}).get(part)
    told = "" if beside is None else f"; the last five symbols alone give {beside:.2f}"
    return f"At {part} the best is {name(best)} with {best['recognised'][part]:.2f}{told}."


def _count(good: int, of: int) -> str:
    return f"{'all' if good == of else good or 'none'} of {of} models recognise"


def name(group: Group) -> str:
    return f"{group['attention']} with {group['position']}, {group['layers']} layer{'s' * (group['layers'] != 1)}"


def _trained(group: Group) -> float:
    """At the longest of the trained lengths."""
    return [value for part, value in group["recognised"].items() if _times(part) <= 1][-1]


def _beyond(group: Group) -> dict[str, float]:
    return {part: value for part, value in group["recognised"].items() if _times(part) > 1}


def _times(part: str) -> float:
    return float(part.removesuffix("x"))


def _reach(group: Group) -> str:
    """A sentence of how far one of them holds."""
    curve = group["recognised"]
    held = [part for part, value in curve.items() if value >= KNOWN and _all_before(curve, part)]
    guessed = next((part for part in curve if _all_from(curve, part)), None)
    far = f"holds up to {held[-1]} the trained length" if held else "does not learn it"
    return f"{name(group)}: {far}" + (
        f", guesses from {guessed} on." if guessed else f", ends at {list(curve.values())[-1]:.2f}."
    )


def _all_before(curve: dict[str, float], part: str) -> bool:
    return all(value >= KNOWN for other, value in curve.items() if _times(other) <= _times(part))


def _all_from(curve: dict[str, float], part: str) -> bool:
    return all(value <= LOST for other, value in curve.items() if _times(other) >= _times(part))


def markdown(groups: list[Group], sentences: list[str], asked: Formal) -> str:
    lines = [
        "# Formal languages by length",
        "",
        "Share of words recognised, mean of those in the language and of others that nearly are (guessing: 0.5).",
        "Columns are lengths, in multiples of the longest trained word; the last one is the share of right labels.",
        f"{asked.steps} steps, seeds {asked.seeds}.",
        "",
        *[f"- {line.strip()}" for line in sentences],
        "",
    ]
    for language in _languages(groups):
        own = [group for group in groups if group["language"] == language]
        parts = next((list(group["recognised"]) for group in own if "recognised" in group), [])
        head = ["attention", "position", "layers", *parts, "prefixes, " + (parts[-1] if parts else "")]
        rows = [_row(group, parts) for group in own] + _baselines(own, parts)
        lines += [f"## {own[0]['title']}", "", table(head, rows), ""]
    return "\n".join(lines)


def _row(group: Group, parts: list[str]) -> list[str]:
    start = [group["attention"], group["position"], str(group["layers"])]
    if "refused" in group:
        return [*start, group["refused"], *[""] * len(parts)]
    return [*start, *(f"{group['recognised'][part]:.2f}" for part in parts), f"{group['accuracy'][parts[-1]]:.2f}"]


def _baselines(own: list[Group], parts: list[str]) -> list[list[str]]:
    found = next((group["baseline"] for group in own if "baseline" in group), {})
    return [[f"_{name}_", "", "", *(f"{values[part]:.2f}" for part in parts), ""] for name, values in found.items()]


def draw(groups: list[Group]) -> Figure:
    """A row for each language: positions, by colour and depth by line, with the first attention; then attentions."""
    languages = _languages(groups)
    figure = Figure(figsize=(11, 3.4 * len(languages)), layout="constrained")
    every = figure.subplots(len(languages), 2, squeeze=False)
    for row, language in zip(every, languages, strict=True):
        own = [group for group in groups if group["language"] == language and "recognised" in group]
        first, place, title = (own[0][key] for key in ("attention", "position", "title"))
        deepest = max(group["layers"] for group in own)
        by_position = [group for group in own if group["attention"] == first]
        by_attention = [group for group in own if group["position"] == place and group["layers"] == deepest]
        _panel(row[0], by_position, "position", f"{title}: {first} attention, by position and depth")
        _panel(row[1], by_attention, "attention", f"{title}: {deepest} layers with {place}, by attention")
    return figure


def _panel(axes: Axes, groups: list[Group], by: str, title: str) -> None:
    names = list(dict.fromkeys(group[by] for group in groups))
    deepest = max((group["layers"] for group in groups), default=1)
    for group in groups:
        curve, shown = group["recognised"], group["layers"] == deepest
        layers = f"{group['layers']} layer{'s' * (group['layers'] != 1)}"
        label = f"{group[by]}, {layers}" if by == "position" else group[by]
        axes.plot(
            [_times(part) for part in curve], list(curve.values()), marker="o", markersize=3, label=label,
            color=COLOURS[names.index(group[by]) % len(COLOURS)], linestyle="-" if shown else ":",
        )  # fmt: skip
    _beside(axes, groups)
    axes.axvspan(0, 1, color="#f0f0e8", zorder=0)
    axes.axhline(0.5, color="#999999", linewidth=0.8)
    axes.set(ylim=(0.4, 1.03), xlim=(0.4, None), xlabel="length of the words / longest trained", ylabel="recognised")
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(fontsize=7)


def _beside(axes: Axes, groups: list[Group]) -> None:
    found = next((group["baseline"].get("5-gram") for group in groups), None)
    if found:
        axes.plot([_times(p) for p in found], list(found.values()), "--", color="#999999", label="last 5 symbols", lw=1)


def _languages(groups: list[Group]) -> list[str]:
    return list(dict.fromkeys(group["language"] for group in groups))
