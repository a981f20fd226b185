"""Folders of finished runs, made by hand: a config, a spec, the data's own files, weights and scores."""

import json
from pathlib import Path
from typing import Any

import torch
from cells import settings

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.base import save_spec
from manyheads.pruning.architecture import FILE, Architecture, narrow
from manyheads.training import record

HALF = {"heads": [1], "neurons": list(range(0, 16, 4))}
"""Of 2 heads one, of 16 neurons 4."""


def made(folder: Path, kind: str, shape: str, *more: str, left: dict[str, Any] | None = None, **scores: float) -> Path:
    """left: what is kept of each kind of unit, or of a sublayer by its name; None: all. scores: of the test."""
    cfg = compose(settings(kind, shape, *more))
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model = build.model(cfg, data.spec)
    checkpoint: dict[str, Any] = {"global_step": 40}
    if left is not None:
        smaller = architecture(model, left)
        narrow(model, smaller)
        checkpoint["architecture"] = smaller.content()
    checkpoint["state_dict"] = build.task(cfg, model, data.spec).state_dict()
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    if left is not None:
        smaller.write(folder / "checkpoints" / FILE)
    record.write_config(folder, cfg)
    save_spec(data.spec, folder)
    data.save(folder)
    return scored(folder, **scores)


def architecture(model: torch.nn.Module, left: dict[str, Any]) -> Architecture:
    whole = Architecture.of(model).sublayers
    kept = {
        name: left[name] if name in left else left.get(entry["kind"], entry["kept"]) for name, entry in whole.items()
    }
    return Architecture({name: {**entry, "kept": kept[name]} for name, entry in whole.items()})


def scored(folder: Path, status: str = "finished", steps: int = 40, reason: str | None = None, **scores: float) -> Path:
    """Writes metrics.json; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"status": status, "reason": reason, "train": {"steps": steps}, "val": {}, "test": scores}
    (folder / "metrics.json").write_text(json.dumps(told))
    return folder


def configure(folder: Path, **keys: Any) -> None:
    """Sets keys of a run's config.yaml, which yaml reads as JSON too."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    text = path.read_text() if path.exists() else ""
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in keys]
    path.write_text("\n".join([*lines, *(f"{key}: {json.dumps(value)}" for key, value in keys.items())]) + "\n")
