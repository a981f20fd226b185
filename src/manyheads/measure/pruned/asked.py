"""What can be asked of the two measurements."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from manyheads.errors import UserError


@dataclass(frozen=True)
class Pruned:
    """A pruned run beside the run it came from: sizes, arithmetic, speed, memory and quality, in one process.

    Writes pruning.json, pruning.md and figures/kept.png into the run's folder.
    """

    run: Path = field(metadata={"help": "a pruned run's folder"})
    against: Path | None = field(default=None, metadata={"help": "the unpruned run; null: the one it began with"})
    lengths: str | None = field(default=None, metadata={"help": "tokens, with commas; null: up to the data's longest"})
    batches: str = field(default="1,32", metadata={"help": "rows at once, with commas"})
    rounds: int = field(default=30, metadata={"help": "timed turns of both"})
    seconds: float = field(default=120.0, metadata={"help": "after so long no further turn of a size begins"})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "where both compute"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures, elsewhere"})


@dataclass(frozen=True)
class Pruning:
    """One finished run pruned in many ways and to many targets: quality against what is gone.

    Every pruning is a run of scripts/prune.py in a process and a folder of its own; what has finished is not run again.
    All other arguments are handed on to it (length=0.5, pruning.base=flops, trainer.accelerator=gpu).
    """

    run: Path = field(metadata={"help": "a finished run's folder"})
    folder: Path = field(metadata={"help": "where the prunings go, each in a folder of its own"})
    metric: str = field(metadata={"help": "what is compared, such as test/bleu"})
    methods: str = field(default="l0,taylor,magnitude,random", metadata={"help": "with commas"})
    targets: str = field(default="0,0.5,0.7,0.9", metadata={"help": "shares that go, with commas"})
    baselines: str = field(default="one_shot,dense", metadata={"help": "with commas; none: none"})
    train: bool = field(default=True, metadata={"help": "false: gather what is there"})
    retry: bool = field(default=False, metadata={"help": "go on with those that failed"})
    bar: float = field(default=0.02, metadata={"help": "the relative loss of quality that is still good"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file; .md and .png beside it. null: in folder"})


def numbers(key: str, text: str) -> list[int]:
    """Whole numbers above 0 with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"{key}={text} are no whole numbers above 0 with commas between them.")
    return sorted({int(part) for part in parts})


def shares(key: str, text: str) -> list[float]:
    """Numbers from 0 to below 1 with commas between them."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [-1.0]
    if not all(0 <= share < 1 for share in found):
        raise UserError(f"{key}={text} are no shares: write numbers from 0 to below 1 with commas between them.")
    return sorted(set(found))
