"""How fast both sides read, at several sizes, and what their arithmetic would have made of it."""

import statistics
from functools import partial
from typing import Any

import torch

from manyheads.data.batch import Batch
from manyheads.measure.attention.clock import Clock
from manyheads.measure.pruned.batches import sized, tokens
from manyheads.measure.pruned.sides import Side
from manyheads.measure.pruned.sizes import flops
from manyheads.measure.pruned.turns import CLOCKS, compared, in_turns

Sides = dict[str, Side]


def speed(sides: Sides, own: Batch, sizes: list[tuple[int, int]], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each size (rows at once, length). own: any batch of the data."""
    clock = Clock(sides["base"].device)
    return [_row(sides, own, size, clock, rounds, seconds) for size in sizes]


def _row(sides: Sides, own: Batch, size: tuple[int, int], clock: Clock, rounds: int, seconds: float) -> dict[str, Any]:
    batch = sized(own, sides["base"].spec, *size)
    given = {name: side.given(batch) for name, side in sides.items()}
    work = {name: flops(side, given[name]) for name, side in sides.items()}
    calls = {name: partial(side.forward, given[name]) for name, side in sides.items()}
    found = compared(in_turns(calls, clock, rounds, seconds), dict.fromkeys(sides, tokens(batch)))
    predicted = work["base"] / work["pruned"]
    told = {f"of_predicted_{by}": found[f"speed_up_{by}"][0] / predicted for by in CLOCKS}
    told["predicted"] = predicted
    return {"batch": size[0], "length": size[1], "tokens": tokens(batch), "flops": work, **found, **told}


def writing(sides: Sides, own: Batch, sentences: int, rounds: int, seconds: float) -> dict[str, Any] | None:
    """How fast both write greedily, each its own translations of the same sentences; None where nothing is written."""
    if not hasattr(sides["base"].task, "search"):
        return None
    clock, written = Clock(sides["base"].device), {}

    def write(name: str) -> None:
        written[name] = _write(sides[name], own, sentences)

    played = in_turns({name: partial(write, name) for name in sides}, clock, rounds, seconds)
    # A closing token is written too.
    found = compared(played, {name: sum(len(ids) + 1 for ids in written[name]) for name in sides})
    return {"sentences": len(written["base"]), **found}


def _write(side: Side, batch: Batch, sentences: int) -> list[list[int]]:
    from dataclasses import replace

    lengths = batch.source_lengths[:sentences]
    source = batch.source[:sentences, : int(lengths.max())]
    with side.computing():
        search = replace(side.task.search, method="greedy")
        return search(side.task.model, source.to(side.device), lengths.to(side.device), side.spec)


def overall(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Measured over predicted speed-up, over all sizes, by either clock."""
    found = {by: [row[f"of_predicted_{by}"] for row in rows] for by in CLOCKS}
    return {by: {"median": statistics.median(of), "least": min(of), "most": max(of)} for by, of in found.items()}


def waited(rows: list[dict[str, Any]]) -> float:
    """How many times the processor's time the clock on the wall took, at most: above 1, others used this machine."""
    return max(row[side]["wall"] / max(row[side]["cpu"], 1e-9) for row in rows for side in ("base", "pruned"))


def threads() -> int:
    return torch.get_num_threads()
