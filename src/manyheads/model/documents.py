"""Documents read in chunks: each chunk becomes a vector, by whatever body, and the vectors one answer.

A document that is read whole is one chunk.
"""

from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.attention.softmax import Softmax
from manyheads.data.base import DocumentSpec
from manyheads.errors import UserError
from manyheads.model.aggregate import AGGREGATES, VOTES, Aggregate, Hierarchical, Reading
from manyheads.model.bag import BagOfWords
from manyheads.model.init import start_weights
from manyheads.model.layers import Factory
from manyheads.model.pool import POOLS, last
from manyheads.model.segments import Segments
from manyheads.model.shapes import DecoderOnly, EncoderOnly, Shape
from manyheads.model.stack import Stack
from manyheads.model.thin import Thin
from manyheads.position.none import NoPosition


class Chunks(Protocol):
    """What is read of a batch of b documents in c chunks; each document has one, and each chunk a token.

    ids: right-padded, whatever stands behind `lengths`. document: to which document of the batch a chunk belongs,
    ascending. place: which of its document's chunks it is, from 0.
    """

    index: Int[Tensor, "b"]
    ids: Int[Tensor, "c n"]
    lengths: Int[Tensor, "c"]
    document: Int[Tensor, "c"]
    place: Int[Tensor, "c"]


class DocumentModel(nn.Module):
    """Labels documents with any body; `shape` is a factory of one.

    How a chunk becomes a vector follows from the body: encoder_only pools its states by `spec.pool`; of decoder_only
    the last token speaks, which alone has read all; of encoder_decoder one step of the decoder, asked with ⟨bos⟩.
    With `spec.bag_of_words` a linear model of the whole document lies beside it. Each is trained for itself, or the
    linear one, which learns sooner, would leave the body nothing to learn; the mean of their logits decides. Of chunks,
    and how they are weighed, the body alone speaks. `spec.word_dropout` thins what the body reads while it trains.
    """

    def __init__(self, shape: Factory, spec: DocumentSpec) -> None:
        super().__init__()
        self.first = spec.bos
        self.body = shape(spec=spec)
        pool = _known("data.pool", spec.pool, POOLS)
        self.pool = POOLS[pool](self.body.dim) if isinstance(self.body, EncoderOnly) else None
        self.aggregate = _aggregate(self.body, spec)
        special = (spec.pad, spec.bos, spec.eos, spec.sep)
        self.thin = Thin(spec.source_vocabulary, spec.word_dropout, special)
        bag = (spec.source_vocabulary, len(spec.labels), self.body.dim, special)
        self.bag = BagOfWords(*bag) if spec.bag_of_words else None
        self.most = spec.most
        self.start()

    def start(self) -> None:
        """Draws all weights anew."""
        start_weights(self)
        self.aggregate.start(self.most)

    def forward(self, batch: Chunks) -> Reading:
        vectors = self.read(*self.thin(batch))
        chunks = Segments(batch.document, batch.index.size(0))
        # A few numbers per chunk: in bf16 they would cost as much, and scores would tie that are to be ranked.
        with torch.autocast(vectors.device.type, enabled=False):
            read = self.aggregate(vectors.to(self.aggregate.classify.weight.dtype), batch.place, chunks)
            if self.bag is None:
                return read
            straight = self.bag(batch.ids, batch.lengths, batch.document, batch.index.size(0))
            return replace(read, scores=(read.scores + straight) / 2, ways=(read.scores, straight))

    def read(self, tokens: Int[Tensor, "c n"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        """One vector for each chunk."""
        body = self.body
        if isinstance(body, EncoderOnly):
            return self.pool(body(tokens, lengths), lengths)
        if isinstance(body, DecoderOnly):
            return last(body(tokens), lengths)
        question = body.embed_target(tokens.new_full((tokens.size(0), 1), self.first))
        return body.answer(question, body.encode(tokens, lengths), lengths).squeeze(1)


def _aggregate(body: Shape, spec: DocumentSpec) -> Aggregate:
    kind, size = _known("data.aggregate", spec.aggregate, AGGREGATES), (body.dim, len(spec.labels))
    if kind == "hierarchical":
        return Hierarchical(*size, _tower(body, spec.layers))
    # Attention over a single chunk is that chunk, and its weights would never learn.
    return VOTES["mean" if spec.most == 1 and kind == "attention" else kind](*size)


def _tower(body: Shape, layers: int) -> Stack:
    """What reads chunks: the body's widths and blocks, but every chunk sees every other, whatever tokens see.

    A training skips chunks, so where a vector stands in its row says nothing: places are added to the vectors instead.
    """
    dense = partial(Softmax, kv_heads=None, kernel="sdpa", dropout=0.0, strict=False, pattern=None)
    return body.tower(layers, attention=dense, position=NoPosition)


def _known(key: str, name: str, names: dict | tuple) -> str:
    if name in names:
        return name
    raise UserError(f"{key}={name} is not known; choose one of {', '.join(names)}.")
