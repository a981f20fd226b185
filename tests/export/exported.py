"""Models of every cell as a run leaves them, without its training: whole ones and pruned ones."""

import torch
from cells import settings
from torch import nn

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.base import DataSpec, DocumentSpec, SeriesSpec, TokenSpec, WordSpec
from manyheads.export.content import content
from manyheads.load import Loaded
from manyheads.pruning.compact import compact
from manyheads.pruning.gates import Gates, put
from manyheads.pruning.sites import Site, sites

WORDS = {"source_vocabulary": 37, "target_vocabulary": 37, "joint": True, "pad": 0, "bos": 1, "eos": 2, "sep": 4}
HOW = {"multilabel": True, "pool": "attention", "aggregate": "hierarchical", "layers": 1, "most": 5}
STEPS = {"history": 24, "horizon": 12, "patch": 4, "stride": 2}
SPECS: dict[str, DataSpec] = {
    "translation": TokenSpec(kind="translation", longest=40, **WORDS),
    "language_model": TokenSpec(kind="language_model", longest=40, **WORDS),
    "clinical_long": DocumentSpec(
        kind="clinical_long", longest=40, labels=("a", "b", "c"), bag_of_words=True, word_dropout=0.1, **WORDS, **HOW
    ),
    "timeseries": SeriesSpec(kind="timeseries", longest=12, channels=2, known=2, quantiles=(0.1, 0.5, 0.9), **STEPS),
    "formal_language": WordSpec(kind="formal_language", longest=40, labels=("a", "b", "c"), **WORDS),
}


def run(kind: str, shape: str, *more: str, pruned: bool = True) -> Loaded:
    """What `load_run` gives. more: settings of the run."""
    config = compose(settings(kind, shape, "model.heads=4", *more))
    model = grown(build.model(config, SPECS[kind])).eval()
    if pruned:
        put(model, Gates({site.name: _closed(site) for site in sites(model)}))
        compact(model)
    return Loaded(model, None, SPECS[kind], config)


def said(made: Loaded) -> dict:
    """config.json of its export, without what a format adds."""
    return content(made, {})


def grown(model: nn.Module) -> nn.Module:
    """As if it had been trained: no weight is small or zero."""
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            size = 0.5 if weight.dim() == 1 else 1.2 / weight.size(1) ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=dice) * size)
    return model


def _closed(site: Site) -> torch.Tensor:
    """The first group of heads, or every third neuron."""
    z = torch.ones(site.part.units)
    z[slice(site.per_group) if site.kind == "heads" else slice(None, None, 3)] = 0
    return z
