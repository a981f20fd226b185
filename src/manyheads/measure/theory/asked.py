"""What is asked of the two benchmarks."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Formal:
    """Which attention, position and depth can tell PARITY and Dyck-2, by the length of the words.

    All other arguments are those of train.py (model.dim=64, data.longest=20, optimizer.lr=1e-3).
    """

    folder: Path = field(metadata={"help": "where each model's figures go; what is there is not trained again"})
    languages: str = field(default="parity,dyck", metadata={"help": "parity, anbn, dyck, with commas"})
    attentions: str = field(default="dense,sigmoid,linear,sliding_window", metadata={"help": "names, with commas"})
    positions: str = field(default="rope,alibi,sinusoidal,none", metadata={"help": "names, with commas"})
    layers: str = field(default="1,2", metadata={"help": "depths, with commas"})
    seeds: str = field(default="1", metadata={"help": "with commas"})
    full: bool = field(default=False, metadata={"help": "every attention with every position and depth, not the first"})
    steps: int = field(default=500, metadata={"help": "of each training"})
    train: bool = field(default=True, metadata={"help": "false: gather what is there"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file; .md and .png beside it. null: in folder"})


@dataclass(frozen=True)
class Extrapolation:
    """Positions beyond the trained length: rope with each scaling, alibi, sinusoidal, learned, none.

    All other arguments are those of train.py (model.dim=64, data.length=64, optimizer.lr=1e-3).
    """

    folder: Path = field(metadata={"help": "where each model's weights and figures go; what is there is kept"})
    positions: str = field(default="rope,alibi,sinusoidal,none,learned", metadata={"help": "names, with commas"})
    scalings: str = field(default="none,linear,ntk,dynamic,yarn", metadata={"help": "of rope, as it is evaluated"})
    length: int = field(default=64, metadata={"help": "tokens of a row in training"})
    seeds: str = field(default="1", metadata={"help": "with commas"})
    steps: int = field(default=500, metadata={"help": "of each training"})
    train: bool = field(default=True, metadata={"help": "false: gather what is there"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file; .md and .png beside it. null: in folder"})
