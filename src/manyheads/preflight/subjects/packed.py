"""Documents packed into one row, as a language model reads them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.model.shapes import DecoderOnly
from manyheads.preflight.dice import Dice, room
from manyheads.preflight.trace import first_change, trace

LENGTH, BORDER = 11, 5
"""Two documents in a row: positions before BORDER and from it on."""


@dataclass(frozen=True)
class Packed:
    """tokens and, for each, the number of its document."""

    tokens: Int[Tensor, "b n"]
    documents: Int[Tensor, "b n"]


def across(model: DecoderOnly, slack: float) -> tuple[str, float] | None:
    """The first layer where the second document's states change with the words of the first, and by how much."""
    dice, words = Dice(model), model.embed.table.num_embeddings
    n = room(model, LENGTH)
    at = torch.arange(n, device=dice.device).expand(2, n)
    second = at >= min(BORDER, n // 2)
    batch = Packed(dice.words(2, n, words), second.long())
    other = replace(batch, tokens=dice.other(batch.tokens, ~second, words))
    before, after = (trace(model, lambda sample=s: _read(model, sample), "the states") for s in (batch, other))
    return first_change((before, {"decoder": second}), (after, {"decoder": second}), slack)


def _read(model: DecoderOnly, sample: Packed) -> Float[Tensor, "b n dim"]:
    return model(sample.tokens, sample.documents)
