"""Shapes that read and write words by themselves: translation, language models, and an encoder without a task."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly, Shape
from manyheads.preflight.dice import room, until
from manyheads.preflight.subjects.base import Change, Subject
from manyheads.preflight.trace import Held

SOURCE, TARGET = (11, 4, 8), (6, 9, 3)
"""Lengths of the rows, where the model takes them: none is the longest on both sides."""

SHORTEST, NOW = 2, 2
"""What no row is cut below, an opening token and a word; target words from NOW on are the future."""


@dataclass(frozen=True)
class Pairs:
    """A right-padded batch of pairs; a shape that reads one sequence takes the source."""

    source: Int[Tensor, "b n"]
    source_lengths: Int[Tensor, "b"]
    target: Int[Tensor, "b m"]
    target_lengths: Int[Tensor, "b"]

    def row(self, b: int) -> "Pairs":
        """One row without its padding."""
        n, m = int(self.source_lengths[b]), int(self.target_lengths[b])
        one = slice(b, b + 1)
        return Pairs(self.source[one, :n], self.source_lengths[one], self.target[one, :m], self.target_lengths[one])


class OfPairs(Subject):
    """A bare shape. Layers are compared, not what is scored: that has no rows any more."""

    result = "the states"
    model: Shape

    def draw(self) -> Pairs:
        both = self._cut(SOURCE), self._cut(TARGET)
        words = (self.dice.words(len(rows), max(rows), self._words[side]) for side, rows in enumerate(both))
        lengths = (self.dice.put(rows) for rows in both)
        return Pairs(*(part for side in zip(words, lengths, strict=True) for part in side))

    def run(self, sample: Pairs) -> Float[Tensor, "t dim"]:
        sides = (sample.source, sample.source_lengths, sample.target, sample.target_lengths)
        if isinstance(self.model, EncoderOnly):
            return self.model(*sides[:2])[until(sample.source_lengths)]
        return self.model.teach(*sides)[0]

    def held(self, sample: Pairs, first: int | None = None) -> Held:
        """Of the target only what stands before word `first`."""
        words = sample.target_lengths - 1
        words = words if first is None else words.clamp(max=first)
        if isinstance(self.model, DecoderOnly):
            return {"decoder": until(sample.source_lengths + words)}
        read = {"encoder": until(sample.source_lengths)}
        return read if isinstance(self.model, EncoderOnly) else read | {"decoder": until(words)}

    def future(self) -> Change | None:
        if isinstance(self.model, EncoderOnly):
            return None
        ends = torch.full_like(self.sample.target_lengths, NOW)
        target = self._other(self.sample.target, ends, 1)
        return Change("later words", replace(self.sample, target=target), self.held(self.sample, NOW))

    def unseen(self) -> Change:
        source = self._other(self.sample.source, self.sample.source_lengths, 0)
        target = self._other(self.sample.target, self.sample.target_lengths, 1)
        return Change("padding", replace(self.sample, source=source, target=target), self.held(self.sample))

    def alone(self) -> Iterator[tuple[Held, Pairs]]:
        whole = self.held(self.sample)
        for b in range(len(self.sample.source)):
            yield {stack: _only(places, b) for stack, places in whole.items()}, self.sample.row(b)

    def loss(self) -> Tensor:
        """A loss of words where the model scores words."""
        if not hasattr(self.model, "head"):
            return super().loss()
        states = self.lesson()
        words = self.dice.words(1, len(states), self.model.head.weight.size(0))[0]
        return self.model.head.loss(states, words, smoothing=0.0).loss

    @property
    def _words(self) -> tuple[int, int]:
        """Sizes of both vocabularies."""
        if isinstance(self.model, EncoderDecoder):
            return self.model.embed_source.table.num_embeddings, self.model.embed_target.table.num_embeddings
        return (self.model.embed.table.num_embeddings,) * 2

    def _other(self, tokens: Tensor, ends: Tensor, side: int) -> Tensor:
        return self.dice.other(tokens, ~until(ends, tokens.size(1)), self._words[side])

    def _cut(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """The lengths, all shortened by the same factor where the longest of them has no room."""
        # One stream holds both sides.
        sides, longest = 1 + isinstance(self.model, DecoderOnly), max(*SOURCE, *TARGET)
        fits = room(self.model, sides * longest) // sides
        return tuple(max(SHORTEST, -(-length * fits // longest)) for length in lengths)


def _only(places: Tensor, row: int) -> Tensor:
    return places & (torch.arange(len(places), device=places.device) == row).unsqueeze(1)
