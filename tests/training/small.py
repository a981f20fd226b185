"""A small translator, composed as a run composes it, and a batch for it."""

import torch

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.base import TokenSpec

SIZES = ["model.dim=16", "model.heads=2", "model.hidden=24"]
SPEC = TokenSpec(
    kind="translation",
    longest=32,
    source_vocabulary=19,
    target_vocabulary=19,
    joint=True,
    pad=0,
    bos=1,
    eos=2,
    sep=4,
)
SHAPES = ("encoder_decoder", "decoder_only")


def translator(shape, *overrides):
    """The same weights each time."""
    torch.manual_seed(1)
    return build.model(compose([f"model={shape}", *SIZES, *overrides]), SPEC).train()


def loss_of(model):
    """Of four pairs of different lengths."""
    chance = torch.Generator().manual_seed(3)
    source, target = (torch.randint(5, 19, (4, n), generator=chance) for n in (7, 6))
    states, words = model.teach(source, torch.tensor([7, 1, 4, 6]), target, torch.tensor([4, 6, 2, 3]))
    return model.head.loss(states, words, 0.1).loss
