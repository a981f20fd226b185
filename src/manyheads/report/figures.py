"""The drawings of a section: quality by group, quality against cost, and the way there."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from manyheads.report import costs, metrics, svg
from manyheads.report.section import Section, spread

POINTS = 60
"""Of a curve, at most: more cannot be told apart, and a page of a hundred runs stays light."""


def all_of(section: Section) -> list[str]:
    if not section.quality:
        return []
    drawn = [quality(section), against_cost(section), curves(section)]
    return [figure for figure in drawn if figure is not None]


def number_of(section: Section, label: str) -> int:
    """Colours follow the groups as they were trained, and stay where a score changes."""
    return [group.label for group in section.groups].index(label)


def quality(section: Section) -> str:
    """A row for each group: its seeds as dots, their mean as a line; the baseline, and the reach of the best."""
    name, labels = metrics.title(section.metric), list(section.quality)
    values = [value for own in section.quality.values() for value in own.values()]
    floor = [section.baseline[1]] if section.baseline is not None else []
    x = svg.scale([*values, *floor], 14, svg.WIDTH - 14)
    top, bottom = 22, 22 + 40 * len(labels)
    parts = [*_reach(section, x, top, bottom), *svg.across(x, top, bottom, name), *_baseline(section, x, top, bottom)]
    for row, label in enumerate(labels):
        parts += _row(section, label, x, top + 40 * row)
    return svg.figure(f"{name}: every seed, and the mean", f"{name} of {len(labels)} groups", bottom + 42, parts)


def _reach(section: Section, x: svg.Scale, top: float, bottom: float) -> list[str]:
    """From the best to one standard error worse."""
    choice = section.choice
    if choice.error is None or section.by_examples:
        return []
    best = section.means[choice.best]
    ends = sorted((x.at(best), x.at(best + choice.error * (1 if section.less else -1))))
    ends = [min(max(end, x.begin), x.end) for end in ends]
    return [svg.rectangle(ends[0], top, max(1, ends[1] - ends[0]), bottom - top, "reach")]


def _baseline(section: Section, x: svg.Scale, top: float, bottom: float) -> list[str]:
    if section.baseline is None:
        return []
    name, value = section.baseline
    at = x.at(value)
    anchor = "start" if at < svg.WIDTH / 2 else "end"
    return [
        svg.line(at, top, at, bottom, "baseline"),
        svg.text(at, 14, f"baseline {name} {metrics.figure(value)}", "tick", anchor),
    ]


def _row(section: Section, label: str, x: svg.Scale, top: float) -> list[str]:
    group, values = number_of(section, label), section.quality[label]
    mean, own, y = section.means[label], spread(values), top + 27
    told = f"{label}\nmean {metrics.figure(mean)}" + (f" ± {metrics.figure(own)}" if own is not None else "")
    parts = [svg.text(14, top + 14, label, "label")]
    if own:
        ends = [min(max(x.at(mean + sign * own), x.begin), x.end) for sign in (-1, 1)]
        parts.append(svg.line(ends[0], y, ends[1], y, f"spread {svg.colour(group)}"))
    parts += [
        svg.mark(x.at(value), y, group, 4, f"{label}\nseed {seed}: {metrics.figure(value)}")
        for seed, value in values.items()
    ]
    parts.append(f'<g class="mean {svg.colour(group)}" data-tip="{escape(told)}">{_bar(x.at(mean), y)}</g>')
    return [f'<g data-group="{group}">{"".join(parts)}</g>']


def _bar(x: float, y: float) -> str:
    return svg.line(x, y - 8, x, y + 8)


def against_cost(section: Section) -> str | None:
    """Up is better, left is cheaper; the front is joined by a line. None where no cost was measured."""
    known = {label: cost for label, cost in section.mean_cost.items() if label in section.means}
    if len(known) < 2:
        return None
    name, axis = metrics.title(section.metric), costs.AXES[section.cost]
    values = [value for label in known for value in (section.means[label], *_ends(section, label))]
    bottom = 250
    x = svg.scale(list(known.values()), 52, svg.WIDTH - 20, log=True)
    y = svg.scale(values, bottom, 34)
    y = svg.Scale(y.high, y.low, bottom, 34) if section.less else y
    parts = [*svg.across(x, 30, bottom, f"{axis.paid}{' (log)' if x.log else ''}: less is cheaper"), *_up(y, name)]
    front = [(x.at(known[label]), y.at(section.means[label])) for label in section.front]
    parts += [svg.path(_stairs(front), "front")] if len(front) > 1 else []
    spots = {label: (x.at(cost), y.at(section.means[label])) for label, cost in known.items()}
    for label, place in _placed(spots).items():
        parts += _spot(section, label, spots[label], place, y)
    better = "less is better, and drawn higher" if section.less else "higher is better"
    return svg.figure(f"Quality against cost: {better}; the line joins the front", name, bottom + 42, parts)


def _up(y: svg.Scale, name: str) -> list[str]:
    flipped = svg.Scale(min(y.low, y.high), max(y.low, y.high), 0, 1)
    lines = [svg.line(52, y.at(tick), svg.WIDTH - 20, y.at(tick), "grid") for tick in flipped.ticks()]
    words = [svg.text(46, y.at(tick) + 4, svg.number(tick), "tick", "end") for tick in flipped.ticks()]
    return [*lines, *words, svg.text(4, 14, name, "axis")]


def _ends(section: Section, label: str) -> list[float]:
    own = spread(section.quality[label])
    return [section.means[label] - own, section.means[label] + own] if own else []


def _stairs(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What can be had for a cost changes in steps: between two of the front only the cheaper one is there."""
    points = [front[0]]
    for (_, before), (x, y) in pairwise(front):
        points += [(x, before), (x, y)]
    return points


def _spot(
    section: Section, label: str, spot: tuple[float, float], place: tuple[float, float, str], y: svg.Scale
) -> list[str]:
    group, mean = number_of(section, label), section.means[label]
    axis = costs.AXES[section.cost]
    tip = (
        f"{label}\n{metrics.title(section.metric)} {metrics.figure(mean)}"
        f"\n{metrics.figure(section.mean_cost[label])} {axis.paid}"
    )
    kind = "taken" if section.choice.taken == label else ""
    ends = _ends(section, label)
    bar = [svg.line(spot[0], y.at(ends[0]), spot[0], y.at(ends[1]), f"spread {svg.colour(group)}")] if ends else []
    size = 6 if label in section.front else 4.5
    drawn = [*bar, svg.mark(*spot, group, size, tip, kind), svg.text(place[0], place[1], label, "label", place[2])]
    return [f'<g data-group="{group}">{"".join(drawn)}</g>']


def _placed(spots: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float, str]]:
    """Where each name stands beside its point: as near as leaves room for those above it."""
    taken: list[tuple[float, float, float]] = []
    found = {}
    for label, (x, y) in sorted(spots.items(), key=lambda item: item[1][1]):
        width, right = 7 * len(label), x + 11 + 7 * len(label) < svg.WIDTH
        begin = x + 11 if right else x - 11 - width
        at = y + 4
        for left, end, used in sorted(taken, key=lambda one: one[2]):
            if begin < end and left < begin + width and abs(at - used) < 14:
                at = used + 14
        taken.append((begin, begin + width, at))
        found[label] = (x + 11 if right else x - 11, at, "start" if right else "end")
    return found


def curves(section: Section) -> str | None:
    """What was watched, by seconds of training: a line for each run."""
    drawn = [(label, run, section.curve(run)) for label in section.quality for run in section.group(label).finished]
    drawn = [(label, run, _thinned(curve)) for label, run, curve in drawn if len(curve) > 1]
    if not drawn:
        return None
    name, bottom = metrics.title(section.watched), 250
    points = [point for _, _, curve in drawn for point in curve]
    x = svg.Scale(0, max(at for at, _ in points) * 1.02, 52, svg.WIDTH - 14)
    y = svg.scale([value for _, value in points], bottom, 34)
    parts = [*svg.across(x, 30, bottom, "seconds of training"), *svg.upward(y, 52, svg.WIDTH - 14, name)]
    for label, run, curve in drawn:
        group = number_of(section, label)
        spots = [(x.at(at), y.at(value)) for at, value in curve]
        tips = [f"{label}, seed {run.seed}\n{at:,.0f} s: {metrics.figure(value)}" for at, value in curve]
        marks = "".join(svg.mark(*spot, group, 2, tip, "small") for spot, tip in zip(spots, tips, strict=True))
        parts.append(f'<g data-group="{group}">{svg.path(spots, f"curve {svg.colour(group)}")}{marks}</g>')
    return svg.figure(f"{name} while training, each run", name, bottom + 42, parts)


def _thinned(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The last value is always there."""
    finite = [(at, value) for at, value in curve if math.isfinite(value)]
    every = math.ceil(len(finite) / POINTS) or 1
    return finite[::-1][::every][::-1]
