"""Things read back from a run's folder, without running anything that a stranger may have put into it."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import build
from manyheads.config.resume import run_config, run_folder
from manyheads.data.base import DataSpec
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP, PairTokenizer
from manyheads.training import checkpoints


@dataclass(frozen=True)
class Loaded:
    """A finished model with what it needs to be used: its config, its tokenizer and the facts of its data."""

    model: nn.Module
    tokenizer: PairTokenizer
    spec: DataSpec
    config: DictConfig


def load_run(folder: str | Path, checkpoint: str = "best") -> Loaded:
    """The model of a run's folder, ready for evaluation, with the weights of `checkpoints/<checkpoint>.ckpt`."""
    folder = Path(folder)
    config, tokenizer = read_config(folder), PairTokenizer.load(folder / "tokenizer.json")
    spec = DataSpec(
        kind="translation",
        source_vocabulary=tokenizer.source_size,
        target_vocabulary=tokenizer.target_size,
        joint=tokenizer.joint,
        longest=0,
        pad=PAD,
        bos=BOS,
        eos=EOS,
        sep=SEP,
    )
    model = build.model(config, spec)
    weights = checkpoints.load(folder / "checkpoints" / f"{checkpoint}.ckpt")["state_dict"]
    own = {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
    model.load_state_dict(own)
    return Loaded(model.eval(), tokenizer, spec, config)


def read_config(folder: Path) -> DictConfig:
    """config.yaml of a run; a UserError where the folder is none, or where the file holds more than plain values."""
    return OmegaConf.create(run_config(run_folder(folder)))
