"""TensorBoard as people use it: runs that are named after what they are, and charts side by side."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

LONGEST = 80
"""Letters of a run's name: layers may take turns in long lists, and a folder's name has 255 bytes."""

LAYOUT: dict[str, dict[str, list[Any]]] = {
    "quality": {
        "loss of validations": ["Multiline", ["val/loss$"]],
        "score: higher is better": ["Multiline", ["val/(bleu|f1_macro|recognised)$"]],
        "error: lower is better": ["Multiline", ["val/(mse|bits_per_byte)$"]],
    },
    "training": {
        "loss of steps": ["Multiline", ["train/loss$"]],
        "learning rate": ["Multiline", ["train/learning_rate$"]],
    },
    "cost": {
        "tokens a second": ["Multiline", ["cost/tokens_per_second$"]],
        "memory": ["Multiline", ["cost/memory_bytes$"]],
        "padding": ["Multiline", ["cost/padding$"]],
    },
    "pruning": {"asked for, and gone": ["Multiline", ["pruning/(asked|gone)$"]]},
}
"""Charts of the tab Custom Scalars, by heading, with a line for each run; tags are regular expressions."""


class Board(TensorBoardLogger):
    """Its events lie in `name/<attention>-<data>-seed<n>/` of a run's folder, which TensorBoard takes for their names.

    A run that goes on finds its own folder again; those of older versions have their events in `name/` itself.
    """

    def __init__(self, save_dir: str, name: str) -> None:
        super().__init__(save_dir, name, version=_place(Path(save_dir), name), default_hp_metric=False)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        opens = self._experiment is None
        writer = super().experiment
        if opens:
            writer.add_custom_scalars(LAYOUT)
        return writer

    def save(self) -> None:
        """Without a hparams.yaml: config.yaml lies beside it."""
        if self._experiment is not None:
            self._experiment.flush()


def _place(folder: Path, name: str) -> str:
    """The folder below `name` where events lie, or shall."""
    found = sorted((folder / name).rglob("events.out.tfevents.*"))
    return str(found[0].parent.relative_to(folder / name)).removeprefix(".") if found else title(folder)


def title(folder: Path) -> str:
    """<attention>-<data>-seed<n>, as metrics.json has them; nothing where a folder is no run's."""
    try:
        known = json.loads((folder / "metrics.json").read_text("utf-8"))
        end = f"-{known['data']}-seed{known['seed']}"
        return f"{known['attention'][: LONGEST - len(end)]}{end}"
    except (OSError, ValueError, KeyError):
        return ""
