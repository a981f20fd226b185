"""Drawing in SVG: escaped text, scales with round ticks, marks that say what they are when one points at them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 440
"""Of every figure, in its own units: on a phone's width its letters are still letters."""

SHAPES = ("circle", "square", "diamond", "triangle")
COLOURS = 8
"""That many are told apart; from there on the shape changes."""


@dataclass(frozen=True)
class Scale:
    """Values from low to high, drawn from `begin` to `end`; log: by their logarithm."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (
            (math.log(x) for x in (self.low, self.high, value))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        return round(self.begin + (value - low) / (high - low) * (self.end - self.begin), 2)

    def ticks(self, count: int = 4) -> list[float]:
        """Round values within, about `count` of them."""
        if self.log:
            found = [m * 10.0**e for e in range(-12, 16) for m in (1, 2, 5) if self.low <= m * 10.0**e <= self.high]
            if len(found) >= 2:
                return found[:: max(1, math.ceil(len(found) / (count + 2)))]
        step = _round((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale(values: Sequence[float], begin: float, end: float, log: bool = False) -> Scale:
    """With some air on both sides; log is given up where a value is not above 0 or all are close."""
    low, high = min(values), max(values)
    if log and low > 0 and high / low >= 2:
        air = (high / low) ** 0.12
        return Scale(low / air, high * air, begin, end, log=True)
    air = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return Scale(low - air, high + air, begin, end)


def number(value: float) -> str:
    """Of a tick."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.10g}" if size >= 1e-4 or not size else f"{value:.0e}"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{max(0, width):g}" height="{height:g}" class="{kind}"/>'


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<path d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}" class="{kind}"/>'


def mark(x: float, y: float, group: int, size: float, tip: str, kind: str = "") -> str:
    """A point of a group's colour and shape, with a larger one around it to be pointed at, by a finger too.

    tip: shown by the page's script, and by the browser where there is none.
    """
    drawn = _shape(SHAPES[group // COLOURS % len(SHAPES)], x, y, size)
    target = f'<circle cx="{x:g}" cy="{y:g}" r="{max(9, size + 4):g}" class="target"/>'
    told = escape(tip)
    begun = f'<g class="mark {colour(group)} {kind}" tabindex="0" data-tip="{told}">'
    return f"{begun}{target}{drawn}<title>{told}</title></g>"


def colour(group: int) -> str:
    return f"c{group % COLOURS}"


def figure(title: str, about: str, height: float, parts: Sequence[str]) -> str:
    """A whole drawing with its caption; about: for those who cannot see it."""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height:g}" role="group" '
        f'aria-label="{escape(about)}">{"".join(parts)}</svg></figure>'
    )


def across(scale: Scale, top: float, bottom: float, title: str) -> list[str]:
    """The horizontal axis: ticks with lines up through the drawing, and what it is."""
    lines = [line(scale.at(tick), top, scale.at(tick), bottom, "grid") for tick in scale.ticks()]
    words = [text(scale.at(tick), bottom + 16, number(tick), "tick", "middle") for tick in scale.ticks()]
    return [*lines, *words, text((scale.begin + scale.end) / 2, bottom + 34, title, "axis", "middle")]


def upward(scale: Scale, left: float, right: float, title: str) -> list[str]:
    """The vertical axis; its title stands on top, to be read without turning the head."""
    lines = [line(left, scale.at(tick), right, scale.at(tick), "grid") for tick in scale.ticks()]
    words = [text(left - 6, scale.at(tick) + 4, number(tick), "tick", "end") for tick in scale.ticks()]
    return [*lines, *words, text(4, 14, title, "axis")]


def _shape(shape: str, x: float, y: float, r: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:g}" cy="{y:g}" r="{r:g}" class="dot"/>'
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "diamond": ((0, -1.3 * r), (1.3 * r, 0), (0, 1.3 * r), (-1.3 * r, 0)),
        "triangle": ((0, -1.2 * r), (1.2 * r, r), (-1.2 * r, r)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + a:g},{y + b:g}" for a, b in corners)}" class="dot"/>'


def _round(step: float) -> float:
    """1, 2 or 5 times a power of ten, the next above."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))
