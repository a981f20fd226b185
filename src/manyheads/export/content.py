"""What config.json of an export says: all that a user's program needs to build the model and to feed it.

format           "manyheads export 1"
files            "safetensors", "torch_export" or "onnx"
spec             facts of the data: vocabularies, labels, channels, …
model            `_target_` and arguments, resolved; `attentions` are those of its layers and `across` sequences,
                 where they are not the model's own
architecture     what pruning has left (pruning/architecture.py)
reads            how raw input becomes input of the model; tokenizer.json, scaling.json and labels.json lie beside it
learned          what else training has found, such as the threshold of labels
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.pruning.architecture import Architecture

if TYPE_CHECKING:
    from manyheads.load import Loaded

FORMAT = "manyheads export 1"
CONFIG = "config.json"
BESIDE = ("tokenizer.json", "scaling.json", "labels.json")
"""Files of a run that say how its input is read."""

READS = {
    "translation": ("source", "target", "joint", "lowercase", "longest"),
    "language_model": ("length", "separator"),
    "clinical_long": (
        "read", "longest", "chunk", "overlap", "boundaries", "question", "lowercase", "multilabel", "batch_tokens",
    ),
    "formal_language": ("language", "kinds", "depth"),
    "timeseries": ("history", "horizon", "missing", "calendar", "season", "target", "known", "quantiles"),
}  # fmt: skip
"""Settings of the data that say how raw input is cut and ordered; none names a place on the machine."""

CACHE = "~/.cache/manyheads"
"""Where a model that measures its kernels remembers them, on whatever machine it comes to."""


def content(run: "Loaded", learned: dict[str, Any]) -> dict[str, Any]:
    """learned: tensors of the task that are no weights, by name."""
    return {
        "format": FORMAT,
        "spec": asdict(run.spec),
        "model": _resolved(run.config.model),
        **_attentions(run.config),
        "architecture": Architecture.of(run.model).content(),
        "reads": {name: _resolved(run.config.data.get(name)) for name in READS[run.spec.kind]},
        "learned": {name: value.tolist() for name, value in learned.items()},
    }


def beside(folder: Path) -> list[Path]:
    return [folder / name for name in BESIDE if (folder / name).is_file()]


def readable(path: Path) -> dict[str, Any] | None:
    """What it says, where it is the config.json of an export."""
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and said.get("format") == FORMAT else None


def _attentions(config: Any) -> dict[str, Any]:
    made = {name: _resolved(node) for name, node in (config.get("attentions") or {}).items()}
    names, across = config.get("layers_attention"), config.get("cross_attention")
    if names is None and across is None:
        return {"attentions": None, "across": None}
    within = [made[name] for name in names or []] or [_resolved(config.attention)]
    return {"attentions": within, "across": made.get(across)}


def _resolved(node: Any) -> Any:
    """Plain values, without the places of this machine."""
    # Imported here: who loads an export reads this module's names, and needs no configs.
    from omegaconf import OmegaConf

    return _portable(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)


def _portable(node: Any) -> Any:
    if isinstance(node, list):
        return [_portable(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {key: CACHE if key == "cache" else _portable(child) for key, child in node.items()}
