"""Words whose prefixes are labelled, with any body."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.model.labeller import Labeller
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly
from manyheads.preflight.dice import room, until
from manyheads.preflight.subjects.base import Change, Subject
from manyheads.preflight.trace import Held

LENGTHS, NOW = (11, 4, 8), 2
"""Symbols of each word; those from NOW on are the future to a body that reads from left to right."""


@dataclass(frozen=True)
class Words:
    """What `Labeller` reads."""

    tokens: Int[Tensor, "b n"]
    lengths: Int[Tensor, "b"]


class OfWords(Subject):
    """Padding is compared by places that mean something; so is the score."""

    result = "the scores"
    model: Labeller

    def draw(self) -> Words:
        longest = room(self.model, max(LENGTHS))
        lengths = self.dice.put([min(length, longest) for length in LENGTHS])
        return Words(self.dice.words(len(LENGTHS), longest, self._symbols), lengths)

    def run(self, sample: Words) -> Float[Tensor, "b n k"]:
        return self.model.head(self.model(sample.tokens, sample.lengths))

    def held(self, sample: Words) -> Held:
        return self._places(until(sample.lengths, sample.tokens.size(1)))

    def future(self) -> Change | None:
        """An encoder sees all of the word, whoever reads it afterwards."""
        if not isinstance(self.model.body, DecoderOnly):
            return None
        ends = torch.full_like(self.sample.lengths, NOW)
        return Change("later symbols", self._other(ends), self._places(until(ends, self.sample.tokens.size(1))))

    def unseen(self) -> Change:
        return Change("padding", self._other(self.sample.lengths), self.held(self.sample))

    def alone(self) -> Iterator[tuple[Held, Words]]:
        real = until(self.sample.lengths, self.sample.tokens.size(1))
        for row, length in enumerate(self.sample.lengths.tolist()):
            only = real & (torch.arange(len(real), device=real.device) == row).unsqueeze(1)
            one = slice(row, row + 1)
            yield self._places(only), Words(self.sample.tokens[one, :length], self.sample.lengths[one])

    def _places(self, places: Tensor) -> Held:
        sides = {EncoderOnly: ("encoder",), DecoderOnly: ("decoder",), EncoderDecoder: ("encoder", "decoder")}
        stacks = next(names for shape, names in sides.items() if isinstance(self.model.body, shape))
        return {f"body.{name}": places for name in stacks} | {self.result: places}

    @property
    def _symbols(self) -> int:
        body = self.model.body
        return (body.embed_source if isinstance(body, EncoderDecoder) else body.embed).table.num_embeddings

    def _other(self, ends: Tensor) -> Words:
        tokens = self.sample.tokens
        return replace(self.sample, tokens=self.dice.other(tokens, ~until(ends, tokens.size(1)), self._symbols))
