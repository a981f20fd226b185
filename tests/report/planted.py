"""Folders of runs that never ran, with what a report reads of them."""

import json
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def run(
    folder: Path,
    attention: str = "dense",
    seed: int = 1,
    score: float | None = 0.9,
    speed: float | None = 1000.0,
    overrides: tuple[str, ...] = (),
    config: dict[str, Any] | None = None,
    curve: list[float] | None = None,
    labels: list[str] | None = None,
    **changes: Any,
) -> Path:
    """score: the test accuracy; curve: validation accuracies at steps 10, 20, …; labels: of documents that are all `a`.

    changes: of metrics.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = {} if score is None else {"accuracy": score, "loss": 1 - score}
    steps = 10 * len(curve or [0])
    content = {
        "status": "finished",
        "reason": None,
        "data": "clinical_long",
        "model": "encoder_only",
        "attention": attention,
        "attention_used": "sdpa",
        "position": "rope",
        "seed": seed,
        "train": {"steps": steps},
        "val": scores,
        "test": scores,
        "baseline": {"test/majority/accuracy": 0.25, "test/tfidf/accuracy": 0.5},
        "cost": {"tokens_per_second": speed, "train_seconds": steps / 2, "parameters": 100, "device": "a machine"},
        **changes,
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    settled = {
        "seed": seed,
        "attention": {"name": attention, **({"width": 8} if attention == "sliding_window" else {})},
        "data": {"path": None, "length": 100, "seed": seed},
        "task": {"monitor": "val/accuracy", "mode": "max"},
        "optimized_metric": None,
        **(config or {}),
    }
    (folder / "config.yaml").write_text(json.dumps(settled))
    (folder / "overrides.yaml").write_text(json.dumps([f"attention={attention}", f"seed={seed}", *overrides]))
    told = {"command": f"python train.py attention={attention} seed={seed}"}
    (folder / "environment.json").write_text(json.dumps(told))
    if curve is not None:
        _events(folder / "tensorboard", curve)
    if labels is not None:
        rows = [{"set": "test", "document": n, "truth": "a", "label": label} for n, label in enumerate(labels)]
        (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def sweep(folder: Path, scores: dict[str, list[float]], speeds: dict[str, float]) -> Path:
    """A job for each score of each attention: its seeds from 1 on, with curves that reach it."""
    number = 0
    for attention, own in scores.items():
        for seed, score in enumerate(own, 1):
            curve = [score / 2, score * 0.9, score]
            speed = speeds[attention] * (1 + seed / 1000)
            run(folder / str(number), attention, seed, score, speed, curve=curve)
            number += 1
    return folder


def _events(folder: Path, curve: list[float]) -> None:
    writer = EventFileWriter(str(folder))
    for number, value in enumerate(curve, 1):
        point = Summary(value=[Summary.Value(tag="val/accuracy", simple_value=value)])
        writer.add_event(Event(wall_time=1000.0 + number, step=10 * number, summary=point))
    writer.close()
