"""Documents in chunks, with any body."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.model.documents import DocumentModel
from manyheads.model.shapes import DecoderOnly, EncoderDecoder
from manyheads.preflight.dice import room, these, until
from manyheads.preflight.subjects.base import Change, Subject
from manyheads.preflight.trace import Held

LENGTHS, OF, PLACE = (7, 11, 4, 8, 5), (0, 0, 1, 1, 1), (0, 1, 0, 2, 3)
"""Tokens of each chunk, which document it belongs to, and which of its chunks it is."""

NOW = 2
"""Tokens from here on are the future to a body that reads from left to right."""


@dataclass(frozen=True)
class Chunks:
    """What `DocumentModel` reads; its own fields say what they are."""

    index: Int[Tensor, "b"]
    ids: Int[Tensor, "c n"]
    lengths: Int[Tensor, "c"]
    document: Int[Tensor, "c"]
    place: Int[Tensor, "c"]

    def only(self, d: int) -> "Chunks":
        """One document without its padding."""
        own, index = self.document == d, self.index[d : d + 1]
        ids = self.ids[own, : int(self.lengths[own].max())]
        return Chunks(index, ids, self.lengths[own], self.document[own] - d, self.place[own])


class OfDocuments(Subject):
    """Layers of the body have a row for each chunk; those over chunks have all of them in one row."""

    result = "the score"
    model: DocumentModel

    def draw(self) -> Chunks:
        longest = room(self.model, max(LENGTHS))
        lengths = self.dice.put([min(length, longest) for length in LENGTHS])
        ids = self.dice.words(len(LENGTHS), longest, self._words)
        index = torch.arange(OF[-1] + 1, device=self.dice.device)
        return Chunks(index, ids, lengths, self.dice.put(OF), self.dice.put(PLACE))

    def run(self, sample: Chunks) -> Float[Tensor, "b 1 k"]:
        return self.model(sample).scores.unsqueeze(1)

    def held(self, sample: Chunks, d: int | None = None) -> Held:
        """Of document `d` alone, or of all."""
        own = these(sample.document, d)
        body, chunk = own.unsqueeze(1) & until(sample.lengths), own.unsqueeze(1)
        rows = these(torch.arange(len(sample.index), device=own.device), d)
        decoder = chunk if isinstance(self.model.body, EncoderDecoder) else body
        stacks = {"body.encoder": body, "body.decoder": decoder, "aggregate.tower": own.unsqueeze(0)}
        return stacks | {self.result: rows.unsqueeze(1)}

    def future(self) -> Change | None:
        if not isinstance(self.model.body, DecoderOnly):
            return None
        ends = torch.full_like(self.sample.lengths, NOW)
        return Change("later words", self._other(ends), {"body.decoder": until(ends)})

    def unseen(self) -> Change:
        return Change("padding", self._other(self.sample.lengths), self.held(self.sample))

    def alone(self) -> Iterator[tuple[Held, Chunks]]:
        for d in range(len(self.sample.index)):
            yield self.held(self.sample, d), self.sample.only(d)

    def learns(self, name: str) -> bool:
        """A decoder of one step has nobody else to look at: whom its queries would ask does not matter."""
        alone = isinstance(self.model.body, EncoderDecoder) and name.startswith("body.decoder.")
        return not (alone and ".read_own.inner.q." in name)

    @property
    def _words(self) -> int:
        body = self.model.body
        return (body.embed_source if isinstance(body, EncoderDecoder) else body.embed).table.num_embeddings

    def _other(self, ends: Tensor) -> Chunks:
        ids = self.sample.ids
        return replace(self.sample, ids=self.dice.other(ids, ~until(ends, ids.size(1)), self._words))
