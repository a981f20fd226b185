"""The three shapes of transformer, each made of one stack or two.

All take the widths of a `Stack` (`dim`, `heads`, `head_dim`, `hidden`, `dropout`) and its factories (`block`,
`attention` and `position`); vocabularies and special tokens come from the data.
"""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.data.base import DataSpec
from manyheads.errors import UserError
from manyheads.model.decoding import Cached, Context, Decoding, Recomputed, Writer
from manyheads.model.embed import Embedding
from manyheads.model.head import Head
from manyheads.model.init import start_weights
from manyheads.model.layers import Factory
from manyheads.model.stack import Stack

Lengths = Int[Tensor, "b"]


class EncoderOnly(nn.Module):
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
        super().__init__()
        stack = _stack(dim, heads, head_dim, hidden, dropout, block, attention, position)
        self.embed = Embedding(spec.source_vocabulary, dim, spec.pad)
        self.encoder = stack(layers=layers, cross=False)
        start_weights(self)

    def forward(self, tokens: Int[Tensor, "b n"], lengths: Lengths | None) -> Float[Tensor, "b n dim"]:
        """States of all tokens; those behind a row's length mean nothing."""
        return _read(self.embed, self.encoder, tokens, lengths)


class DecoderOnly(nn.Module):
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
        super().__init__()
        stack = _stack(dim, heads, head_dim, hidden, dropout, block, attention, position)
        if not spec.joint:
            raise UserError("model=decoder_only reads both languages from one table: set data.joint=true.")
        self.first = spec.sep
        self.embed = Embedding(spec.target_vocabulary, dim, spec.pad)
        self.decoder = stack(layers=layers, cross=False)
        self.head = Head(dim, spec.target_vocabulary, self.embed.table.weight if tie else None)
        start_weights(self)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n dim"]:
        """States of all tokens; right padding needs no lengths, since nobody looks to the right."""
        n = tokens.size(1)
        return self.decoder(self.embed(tokens), Mask(n, n, causal=True))

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


class EncoderDecoder(nn.Module):
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
        super().__init__()
        stack = _stack(dim, heads, head_dim, hidden, dropout, block, attention, position)
        self.first = spec.bos
        self.embed_target = Embedding(spec.target_vocabulary, dim, spec.pad)
        shared = tie and spec.joint
        self.embed_source = self.embed_target if shared else Embedding(spec.source_vocabulary, dim, spec.pad)
        self.encoder = stack(layers=encoder_layers, cross=False)
        self.decoder = stack(layers=decoder_layers, cross=True)
        self.head = Head(dim, spec.target_vocabulary, self.embed_target.table.weight if tie else None)
        start_weights(self)

    def encode(self, source: Int[Tensor, "b n"], lengths: Lengths | None) -> Float[Tensor, "b n dim"]:
        return _read(self.embed_source, self.encoder, source, lengths)

    def forward(
        self, source: Int[Tensor, "b n"], source_lengths: Lengths | None, target: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m dim"]:
        """States of the target's tokens; right padding of the target needs no lengths: nobody looks to the right."""
        n, m = source.size(1), target.size(1)
        context = self.encode(source, source_lengths), Mask(m, n, lengths=source_lengths, cross=True)
        return self.decoder(self.embed_target(target), Mask(m, m, causal=True), context=context)

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


def _stack(
    dim: int,
    heads: int,
    head_dim: int | None,
    hidden: int,
    dropout: float,
    block: Factory,
    attention: Factory,
    position: Factory,
) -> Factory:
    size = {"dim": dim, "heads": heads, "head_dim": head_dim, "hidden": hidden, "dropout": dropout}
    return partial(Stack, **size, block=block, attention=attention, position=position)


def _read(embed: Embedding, stack: Stack, tokens: Tensor, lengths: Tensor | None) -> Tensor:
    n = tokens.size(1)
    return stack(embed(tokens), Mask(n, n, lengths=lengths))


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
