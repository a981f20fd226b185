"""Things read back from a run's folder, without running anything that a stranger may have put into it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import build
from manyheads.config.resume import run_config, run_folder
from manyheads.data.base import DataSpec, load_spec
from manyheads.data.batch import Ragged
from manyheads.errors import UserError
from manyheads.pruning.architecture import load_strictly
from manyheads.pruning.saved import narrow_as, refuse_gated
from manyheads.task.search import Search
from manyheads.training import checkpoints


@dataclass(frozen=True)
class Loaded:
    """A finished model with what it needs to be used: its config, the facts of its data, and how to read such data."""

    model: nn.Module
    data: LightningDataModule
    spec: DataSpec
    config: DictConfig

    @property
    def tokenizer(self) -> Any:
        """Text to ids and back; None for data that has no text."""
        return getattr(self.data, "tokenizer", None)


def load_run(folder: str | Path, checkpoint: str = "best", device: str = "cpu") -> Loaded:
    """The model of a run's folder, ready for evaluation, with the weights of `checkpoints/<checkpoint>.ckpt`.

    device: where the model is put; `auto` is the GPU where there is one.
    """
    folder = Path(folder)
    config, spec = read_config(folder), load_spec(folder)
    data, model = build.data(config).restore(folder), build.model(config, spec)
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    saved = checkpoints.load(path)
    refuse_gated(saved, path)
    narrow_as(model, saved, path)
    weights = saved["state_dict"]
    own = {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
    try:
        load_strictly(model, own)
    except RuntimeError as problem:
        raise UserError(f"{path} holds weights of another model than it and {folder}/config.yaml tell of.") from problem
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Loaded(model.eval().to(device), data, spec, config)


def read_config(folder: Path) -> DictConfig:
    """config.yaml of a run; a UserError where the folder is none, or where the file holds more than plain values."""
    return OmegaConf.create(run_config(run_folder(folder)))


def search_of(config: DictConfig, method: str | None, width: int | None) -> Search:
    """The search of a run, with what is asked for instead."""
    own: Search = build.instantiate(config.task.search)
    wanted = {"method": method, "width": width}
    return replace(own, **{name: value for name, value in wanted.items() if value is not None})


def translator(run: Loaded, method: str | None = None, width: int | None = None) -> Callable[[list[str]], list[str]]:
    """A function from sentences to their translations; an empty sentence stays empty."""
    search, device = search_of(run.config, method, width), next(run.model.parameters()).device

    def translate(sentences: list[str]) -> list[str]:
        wanted = [i for i, sentence in enumerate(sentences) if sentence.strip()]
        if not wanted:
            return [""] * len(sentences)
        ids = Ragged(run.tokenizer.encode_source([sentences[i] for i in wanted]))
        rows = torch.from_numpy(ids.padded(range(len(wanted)))).to(device)
        lengths = torch.from_numpy(ids.lengths).to(device)
        texts = run.tokenizer.decode_target(search(run.model, rows, lengths, run.spec))
        written = dict(zip(wanted, texts, strict=True))
        return [written.get(i, "") for i in range(len(sentences))]

    return translate
