"""The three shapes of transformer, each made of one stack or two.

All take the widths of a `Stack` (`dim`, `heads`, `head_dim`, `hidden`, `dropout`) and its factories (`block`,
`attention` and `position`); vocabularies and special tokens come from the data. They embed tokens themselves where the
data has any; `read` and `answer` take what is embedded already. A head over words is there where the data is written.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.data.base import DataSpec, TokenSpec
from manyheads.errors import UserError
from manyheads.model.decoding import Cached, Context, Decoding, Recomputed, Writer
from manyheads.model.embed import Embedding
from manyheads.model.head import Head
from manyheads.model.init import start_weights
from manyheads.model.layers import Factory
from manyheads.model.stack import Stack

Lengths = Int[Tensor, "b"]
States = Float[Tensor, "b n dim"]


class Shape(nn.Module):
    """What all shapes have: a width, and the means to make further stacks of it.

    of: how wide it began. dims: which of these dimensions are left.
    """

    def __init__(self, dim: int, **parts: Any) -> None:
        super().__init__()
        self.of, self.dims = dim, tuple(range(dim))
        self._stack = partial(Stack, dim=dim, **parts)

    @property
    def dim(self) -> int:
        return len(self.dims)

    def start(self) -> None:
        """Draws all weights anew."""
        start_weights(self)

    def tower(self, layers: int, **other: Any) -> Stack:
        """A further encoder of the same widths, block, attention and position, or what `other` names instead."""
        return self._stack(layers=layers, cross=False, **other)


class EncoderOnly(Shape):
    """Reads a sequence both ways: one state per token. It cannot write."""

    def __init__(
        self,
        spec: DataSpec,
        layers: int,
        dim: int,
        heads: int,
        head_dim: int | None,
        hidden: int,
        dropout: float,
        block: Factory,
        attention: Factory,
        position: Factory,
    ) -> None:
        size = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "dropout": dropout}
        super().__init__(dim, **size, block=block, attention=attention, position=position)
        self.embed = _embedding(spec, dim, "source")
        self.encoder = self.tower(layers)
        self.start()

    def forward(self, tokens: Int[Tensor, "b n"], lengths: Lengths | None) -> Float[Tensor, "b n dim"]:
        """States of all tokens; those behind a row's length mean nothing."""
        return self.read(self.embed(tokens), lengths)

    def read(self, x: States, lengths: Lengths | None) -> States:
        return _read(self.encoder, x, lengths)


class DecoderOnly(Shape):
    """Reads and writes one stream, left to right; a pair is the stream source ⟨sep⟩ target.

    tie: scores use the table of the embedding. Pairs need one vocabulary for both sides.
    """

    def __init__(
        self,
        spec: DataSpec,
        tie: bool,
        layers: int,
        dim: int,
        heads: int,
        head_dim: int | None,
        hidden: int,
        dropout: float,
        block: Factory,
        attention: Factory,
        position: Factory,
    ) -> None:
        size = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "dropout": dropout}
        super().__init__(dim, **size, block=block, attention=attention, position=position)
        if isinstance(spec, TokenSpec) and not spec.joint:
            raise UserError("model=decoder_only reads both languages from one table: set data.joint=true.")
        self.embed = _embedding(spec, dim, "target")
        self.decoder = self.tower(layers)
        if spec.writes:
            self.first = spec.sep
            self.head = _head(spec, dim, self.embed if tie else None)
        self.start()

    def forward(self, tokens: Int[Tensor, "b n"], documents: Int[Tensor, "b n"] | None = None) -> States:
        """States of all tokens; right padding needs no lengths, since nobody looks to the right."""
        return self.read(self.embed(tokens), documents)

    def read(self, x: States, documents: Int[Tensor, "b n"] | None = None) -> States:
        """documents: the number of each token's document; nobody looks into another one."""
        n = x.size(1)
        return self.decoder(x, Mask(n, n, causal=True, documents=documents))

    def teach(
        self,
        source: Int[Tensor, "b n"],
        source_lengths: Lengths,
        target: Int[Tensor, "b m"],
        target_lengths: Lengths,
    ) -> tuple[Float[Tensor, "t dim"], Int[Tensor, "t"]]:
        """States before each of the t real words of the targets, and those words."""
        stream, asked = _stream(source, source_lengths, target, target_lengths, self.first)
        return self(stream[:, :-1])[asked[:, 1:]], stream[:, 1:][asked[:, 1:]]

    def decoding(self, source: Int[Tensor, "b n"], lengths: Lengths, width: int, cached: bool = True) -> Decoding:
        """`width` hypotheses per source, ready for their first step (with `first`)."""
        writer = Writer(self.embed, self.decoder, self.head)
        if not cached:
            return Recomputed(writer, None, width, *(x.repeat_interleave(width, 0) for x in (source, lengths)))
        n, caches = source.size(1), self.decoder.caches()
        self.decoder(self.embed(source), Mask(n, n, causal=True), 0, None, caches)
        decoding = Cached(writer, None, width, caches, lengths)
        decoding.select(torch.arange(len(source), device=source.device).repeat_interleave(width))
        return decoding


class EncoderDecoder(Shape):
    """Reads the source both ways, then writes the target from left to right (Vaswani et al. 2017, figure 1).

    tie: the scores use the table of the target's embedding, which under a joint vocabulary is the source's too.
    """

    def __init__(
        self,
        spec: DataSpec,
        tie: bool,
        encoder_layers: int,
        decoder_layers: int,
        dim: int,
        heads: int,
        head_dim: int | None,
        hidden: int,
        dropout: float,
        block: Factory,
        attention: Factory,
        position: Factory,
    ) -> None:
        size = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "dropout": dropout}
        super().__init__(dim, **size, block=block, attention=attention, position=position)
        self.embed_target = _embedding(spec, dim, "target")
        # What is not written has one table: its decoder reads an opening token at most.
        shared = not spec.writes or (tie and spec.joint)
        self.embed_source = self.embed_target if shared else _embedding(spec, dim, "source")
        self.encoder = self.tower(encoder_layers)
        self.decoder = self._stack(layers=decoder_layers, cross=True)
        if spec.writes:
            self.first = spec.bos
            self.head = _head(spec, dim, self.embed_target if tie else None)
        self.start()

    def encode(self, source: Int[Tensor, "b n"], lengths: Lengths | None) -> Float[Tensor, "b n dim"]:
        return self.read(self.embed_source(source), lengths)

    def read(self, x: States, lengths: Lengths | None) -> States:
        return _read(self.encoder, x, lengths)

    def answer(self, x: Float[Tensor, "b m dim"], context: States, lengths: Lengths | None) -> Float[Tensor, "b m dim"]:
        """States of the decoder over an embedded target and what the encoder has read, whose real `lengths` count."""
        n, m = context.size(1), x.size(1)
        return self.decoder(x, Mask(m, m, causal=True), context=(context, Mask(m, n, lengths=lengths, cross=True)))

    def forward(
        self, source: Int[Tensor, "b n"], source_lengths: Lengths | None, target: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m dim"]:
        """States of the target's tokens; right padding of the target needs no lengths: nobody looks to the right."""
        return self.answer(self.embed_target(target), self.encode(source, source_lengths), source_lengths)

    def teach(
        self,
        source: Int[Tensor, "b n"],
        source_lengths: Lengths,
        target: Int[Tensor, "b m"],
        target_lengths: Lengths,
    ) -> tuple[Float[Tensor, "t dim"], Int[Tensor, "t"]]:
        """States before each of the t real words of the targets, and those words."""
        states = self(source, source_lengths, target[:, :-1])
        steps = torch.arange(states.size(1), device=target.device)
        real = steps < target_lengths.unsqueeze(1) - 1
        return states[real], target[:, 1:][real]

    def decoding(self, source: Int[Tensor, "b n"], lengths: Lengths, width: int, cached: bool = True) -> Decoding:
        """`width` hypotheses per source, ready for their first step (with `first`)."""
        writer = Writer(self.embed_target, self.decoder, self.head)
        context = Context(self.encode(source, lengths), lengths)
        if not cached:
            nothing = source.new_zeros(len(source) * width, 0)
            return Recomputed(writer, context, width, nothing, lengths.new_zeros(len(nothing)))
        return Cached(writer, context, width, self.decoder.caches(), 0)


def _embedding(spec: DataSpec, dim: int, side: str) -> Embedding | None:
    """The table of one side's tokens; None where the data has none."""
    if not isinstance(spec, TokenSpec):
        return None
    return Embedding(getattr(spec, f"{side}_vocabulary"), dim, spec.pad)


def _head(spec: TokenSpec, dim: int, tied: Embedding | None) -> Head:
    return Head(dim, spec.target_vocabulary, None if tied is None else tied.table.weight)


def _read(stack: Stack, x: States, lengths: Lengths | None) -> States:
    n = x.size(1)
    return stack(x, Mask(n, n, lengths=lengths))


def _stream(
    source: Int[Tensor, "b n"],
    source_lengths: Lengths,
    target: Int[Tensor, "b m"],
    target_lengths: Lengths,
    sep: int,
) -> tuple[Int[Tensor, "b k"], Tensor]:
    """source ⟨sep⟩ target in one right-padded row, and which of its tokens are the words of the target.

    The target's opening token gives its place to ⟨sep⟩.
    """
    b, n, m = len(source), source.size(1), target.size(1)
    stream = source.new_zeros(b, n + m)
    stream[:, :n] = source
    place = source_lengths.unsqueeze(1) + torch.arange(m, device=source.device)
    stream.scatter_(1, place, target)
    stream.scatter_(1, place[:, :1], sep)
    at = torch.arange(n + m, device=source.device) - source_lengths.unsqueeze(1)
    asked = (at >= 1) & (at < target_lengths.unsqueeze(1))
    longest = int((source_lengths + target_lengths).max())
    return stream[:, :longest], asked[:, :longest]
