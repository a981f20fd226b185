"""Small batches for each shape of model, what the model makes of them, and which positions mean something."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly

Shape = EncoderOnly | DecoderOnly | EncoderDecoder
SOURCE, TARGET = (11, 4, 8), (6, 9, 3)
"""Lengths of the rows, where the model takes them: none is the longest on both sides."""

SHORTEST = 2
"""What no row is cut below: an opening token and a word."""


@dataclass(frozen=True)
class Sample:
    """A right-padded batch of pairs; a shape that reads one sequence takes the source."""

    source: Int[Tensor, "b n"]
    source_lengths: Int[Tensor, "b"]
    target: Int[Tensor, "b m"]
    target_lengths: Int[Tensor, "b"]

    def row(self, b: int) -> "Sample":
        """One row without its padding."""
        n, m = int(self.source_lengths[b]), int(self.target_lengths[b])
        one = slice(b, b + 1)
        return Sample(self.source[one, :n], self.source_lengths[one], self.target[one, :m], self.target_lengths[one])


class Samples:
    """Draws batches for a model from a generator of its own."""

    def __init__(self, model: Shape) -> None:
        self.device = next(model.parameters()).device
        self._dice = torch.Generator().manual_seed(0)
        self._words, self._room = _vocabularies(model), _room(model)

    def batch(self) -> Sample:
        both = self._cut(SOURCE), self._cut(TARGET)
        source, target = (self._draw(len(rows), max(rows), side) for side, rows in enumerate(both))
        return Sample(source, self._put(both[0]), target, self._put(both[1]))

    def from_word(self, sample: Sample, first: int) -> Sample:
        """The same with other words in the target from index `first` on."""
        return replace(sample, target=self._other(sample.target, torch.full_like(sample.target_lengths, first), 1))

    def behind_ends(self, sample: Sample) -> Sample:
        """The same with other words behind the ends of both sides."""
        source = self._other(sample.source, sample.source_lengths, 0)
        return replace(sample, source=source, target=self._other(sample.target, sample.target_lengths, 1))

    def _cut(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """The lengths, all shortened by the same factor where the longest of them has no room."""
        longest = max(*SOURCE, *TARGET)
        room = min(self._room, longest)
        return tuple(max(SHORTEST, -(-length * room // longest)) for length in lengths)

    def _other(self, tokens: Tensor, ends: Tensor, side: int) -> Tensor:
        # Never the word that stands there: a step of 1 to vocabulary − 1 around the circle.
        step = 1 + self._draw(*tokens.shape, side) % max(1, self._words[side] - 1)
        behind = torch.arange(tokens.size(1), device=self.device) >= ends.unsqueeze(1)
        return torch.where(behind, (tokens + step) % self._words[side], tokens)

    def _draw(self, rows: int, length: int, side: int) -> Tensor:
        return torch.randint(self._words[side], (rows, length), generator=self._dice).to(self.device)

    def _put(self, lengths: tuple[int, ...]) -> Tensor:
        return torch.tensor(lengths, device=self.device)


def _vocabularies(model: Shape) -> tuple[int, int]:
    if isinstance(model, EncoderDecoder):
        return model.embed_source.table.num_embeddings, model.embed_target.table.num_embeddings
    return (model.embed.table.num_embeddings,) * 2


def _room(model: Shape) -> int:
    """Tokens that a side may have: positions of some kinds end somewhere, and one stream holds both sides."""
    limits = [module.limit for module in model.modules() if getattr(module, "limit", None) is not None]
    room = min(limits, default=max(*SOURCE, *TARGET))
    return room // 2 if isinstance(model, DecoderOnly) else room


def states(model: Shape, sample: Sample) -> Float[Tensor, "t dim"]:
    """The states that a training would score, as it makes them."""
    if isinstance(model, EncoderOnly):
        read = model(sample.source, sample.source_lengths)
        return read[torch.arange(read.size(1), device=read.device) < sample.source_lengths.unsqueeze(1)]
    sides = (sample.source, sample.source_lengths, sample.target, sample.target_lengths)
    return model.teach(*sides)[0]


def spans(model: Shape, sample: Sample, first: int | None = None) -> dict[str, Int[Tensor, "b"]]:
    """By stack, how many positions of each row mean something; of the target only those before word `first`."""
    until = sample.target_lengths - 1
    until = until if first is None else until.clamp(max=first)
    if isinstance(model, EncoderOnly):
        return {"encoder": sample.source_lengths}
    if isinstance(model, DecoderOnly):
        return {"decoder": sample.source_lengths + until}
    return {"encoder": sample.source_lengths, "decoder": until}


def known(model: nn.Module) -> bool:
    """Whether a sample can be fed to this model."""
    return isinstance(model, Shape)
