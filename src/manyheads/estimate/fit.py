"""The largest batch and the longest text that fit: curves of known shape through a few small imagined steps.

Memory is a straight line in the number of rows, whatever the attention. In the length of a row it is a parabola, which
is nearly a line where the attention's memory grows with length. Steps of the sizes found are imagined too where they
are no larger than a few times what was asked for; the curve has the word beyond.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from omegaconf import DictConfig

from manyheads.data.batch import Batch
from manyheads.estimate.batches import extent, resized
from manyheads.estimate.step import Imagination

KEYS = {"batch_tokens": ("length", "longest"), "batch": ()}
"""Settings of data that say how large a batch is, and those that say how long its rows may be, the first there is."""

LONGEST = 1 << 24
"""Tokens beyond which nobody asks."""


@dataclass(frozen=True)
class Fits:
    """batch: the setting of the largest batch of rows as long as now, None where not even one row fits. longest: the
    setting of the longest row that fits as a batch of its own. Both ready to be typed; None where nobody knows.
    """

    batch: str | None
    longest: str | None


Held = Callable[[Batch], int]


def fits(cfg: DictConfig, imagination: Imagination, batch: Batch, room: int) -> Fits:
    """room: bytes for a training step."""
    rows, length = extent(batch)
    key = next((key for key in KEYS if key in cfg.data), None)
    if key is None or resized(batch, 1, length) is None:
        return Fits(None, None)
    cells = resized(batch, 1, length).cells if key == "batch_tokens" else 1
    most = _most(imagination, batch, rows, length, room)
    asked = None if not most else f"data.{key}={most * cells}"
    return Fits(asked, _longest(cfg, imagination, batch, length, room))


def _most(imagination: Imagination, batch: Batch, rows: int, length: int, room: int) -> int:
    """Rows of this length; 0 where not even one fits."""
    low, high = sorted({max(1, rows // 2), rows}) if rows > 1 else (1, 2)
    at = {n: _held(imagination, resized(batch, n, length)) for n in (low, high)}
    slope = (at[high] - at[low]) / (high - low)
    return max(0, int(low + (room - at[low]) / slope)) if slope > 0 else rows


def _longest(cfg: DictConfig, imagination: Imagination, batch: Batch, length: int, room: int) -> str | None:
    key = _length_key(cfg)
    if key is None:
        return None
    places = sorted({max(16, length // 2), max(32, length), max(64, 2 * length)})
    held = [_held(imagination, resized(batch, 1, place)) for place in places]
    longest = _root(np.polyfit(np.array(places, float), np.array(held, float), 2), room, places[-1])
    if longest <= 1:  # the weights alone are too much
        return None
    found = min(LONGEST, longest)
    budget = resized(batch, 1, found).cells if found < LONGEST else 2 * found
    return f"data.{key}={found} data.batch_tokens={budget}"


def _length_key(cfg: DictConfig) -> str | None:
    if "batch_tokens" not in cfg.data:
        return None
    if cfg.data.get("read") == "chunked":
        return "chunk"
    return next((key for key in KEYS["batch_tokens"] if key in cfg.data), None)


def _root(curve: np.ndarray, room: int, known: int) -> int:
    """Where the parabola reaches `room`; a curve that bends down by a rounding counts as straight."""
    a, b, c = curve
    if a * known < 1e-3 * abs(b):
        return int((room - c) / b) if b > 0 else LONGEST
    inside = b * b - 4 * a * (c - room)
    return int((-b + inside**0.5) / (2 * a)) if inside > 0 else 0


def _held(imagination: Imagination, batch: Batch) -> int:
    return imagination.training(batch).held
