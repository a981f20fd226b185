"""How good a run was on each single example of its tests, from the predictions that it left."""

import csv
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scores:
    """of: what is counted, in words; less: whether less is better; by: the score of each example, by its name."""

    of: str
    less: bool
    by: Mapping[Hashable, float] = field(default_factory=dict)


def read(folder: Path) -> Scores | None:
    """None where the run left no predictions that can be judged one by one, or none that can be read."""
    try:
        if (folder / "predictions.jsonl").exists():
            return _of_rows(folder / "predictions.jsonl")
        if (folder / "forecasts.csv").exists():
            return Scores(
                "forecast windows, mean absolute error in deviations", True, _windows(folder / "forecasts.csv")
            )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return None


def _of_rows(path: Path) -> Scores | None:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if rows and {"truth", "label"} <= set(rows[0]):
        by = {(row["set"], row["document"], row.get("question")): _right(row) for row in rows}
        return Scores("documents labelled right", False, by)
    if rows and {"target", "translation"} <= set(rows[0]):
        return Scores("sentences, chrF", False, _chrf(rows))
    return None


def _right(row: dict[str, Any]) -> float:
    """1 or 0; of several labels their F1."""
    truth, label = row["truth"], row["label"]
    if not isinstance(truth, list):
        return float(truth == label)
    both = len(set(truth) & set(label))
    return 2 * both / (len(truth) + len(label)) if truth or label else 1.0


def _chrf(rows: list[dict[str, Any]]) -> dict[Hashable, float]:
    """Sentences may be repeated: their number is their name."""
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    return {
        (row["set"], number): chrf.sentence_score(row["translation"], [row["target"]]).score
        for number, row in enumerate(rows)
    }


def _windows(path: Path) -> dict[Hashable, float]:
    """Each window's error, every channel in standard deviations of its truth: channels have units of their own."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["truth"]]
    column = _middle([name for name in rows[0] if name == "forecast" or name.startswith("q0.")])
    truths: dict[str, list[float]] = {}
    for row in rows:
        truths.setdefault(row["channel"], []).append(float(row["truth"]))
    scale = {channel: float(np.std(values)) or 1.0 for channel, values in truths.items()}
    errors: dict[Hashable, list[float]] = {}
    for row in rows:
        error = abs(float(row[column]) - float(row["truth"])) / scale[row["channel"]]
        errors.setdefault((row["set"], row["series"], row["window"]), []).append(error)
    return {window: float(np.mean(found)) for window, found in errors.items()}


def _middle(columns: list[str]) -> str:
    return "forecast" if "forecast" in columns else min(columns, key=lambda name: abs(float(name[1:]) - 0.5))


def together(found: list[Scores]) -> Scores:
    """The mean over runs, of the examples that all of them have."""
    names = [name for name in found[0].by if all(name in one.by for one in found)]
    means = {name: sum(one.by[name] for one in found) / len(found) for name in names}
    return Scores(found[0].of, found[0].less, means)
