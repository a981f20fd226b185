"""Sentences while they are being written: what a search needs of a model, and nothing of how it searches.

A row is one hypothesis; the `width` rows of a sentence stand side by side.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.attention.mask import Mask
from manyheads.model.cache import LayerCache
from manyheads.model.embed import Embedding
from manyheads.model.head import Head
from manyheads.model.stack import Stack


class Context:
    """What is read while writing: encoded sources (b, m, dim) and their lengths (b,)."""

    def __init__(self, states: Float[Tensor, "b m dim"], lengths: Int[Tensor, "b"]) -> None:
        self.states, self.lengths = states, lengths
        self._mask: Mask | None = None

    def read_by(self, queries: int) -> tuple[Tensor, Mask]:
        """The states, and the mask for so many queries per sentence; steps of one width share it."""
        if self._mask is None or self._mask.queries != queries:
            self._mask = Mask(queries, self.states.size(1), lengths=self.lengths, cross=True)
        return self.states, self._mask

    def select(self, sentences: Int[Tensor, "b"]) -> "Context":
        return Context(self.states[sentences], self.lengths[sentences])


@dataclass(frozen=True)
class Writer:
    """The parts of a model that write."""

    embed: Embedding
    stack: Stack
    head: Head


class Decoding(ABC):
    """Unfinished sentences of a model."""

    def __init__(self, writer: Writer, context: Context | None, width: int) -> None:
        self.writer, self.context, self.width = writer, context, width

    @abstractmethod
    def step(self, tokens: Int[Tensor, "r"]) -> Float[Tensor, "r vocabulary"]:
        """Takes each row's newest token; returns the scores of its next one."""

    @abstractmethod
    def select(self, rows: Int[Tensor, "s"]) -> None:
        """Keeps these rows in this order. Whole sentences may go; those that stay keep their order, and their rows."""

    def _sentences(self, rows: Tensor) -> Tensor | None:
        """Which sentences stay, or None where all do."""
        if self.context is None or rows.numel() == self.width * self.context.states.size(0):
            return None
        return rows[:: self.width] // self.width


class Cached(Decoding):
    """Each step computes its own token alone; keys and values of earlier ones are remembered.

    start: how many tokens every row has behind it, one number for all or one per row (prompts of different lengths).
    """

    def __init__(
        self,
        writer: Writer,
        context: Context | None,
        width: int,
        caches: list[LayerCache],
        start: int | Tensor,
    ) -> None:
        super().__init__(writer, context, width)
        self.caches, self.start = caches, start
        self.longest = start if isinstance(start, int) else int(start.max())

    def step(self, tokens: Int[Tensor, "r"]) -> Float[Tensor, "r vocabulary"]:
        x = self.writer.embed(tokens.unsqueeze(1))
        context = self.context and self.context.read_by(self.width)
        states = self.writer.stack(x, self._mask(), self.start, context, self.caches)
        self.start, self.longest = self.start + 1, self.longest + 1
        return self.writer.head(states[:, -1])

    def select(self, rows: Int[Tensor, "s"]) -> None:
        sentences = self._sentences(rows)
        for cache in self.caches:
            cache.select(rows, sentences)
        if isinstance(self.start, Tensor):
            self.start = self.start[rows]
        if sentences is not None:
            self.context = self.context.select(sentences)

    def _mask(self) -> Mask:
        # The newest token sees all before it; with one start per row, stale keys behind a row's own end are padding.
        keys = self.longest + 1
        if isinstance(self.start, int):
            return Mask(1, keys, causal=True)
        return Mask(1, keys, causal=True, lengths=self.start + 1, offset=self.start)


class Recomputed(Decoding):
    """Each step runs the whole prefix again: slow, obviously right, and what `Cached` is checked against.

    prefix (r, n), lengths (r,): the tokens so far, right-padded.
    """

    def __init__(self, writer: Writer, context: Context | None, width: int, prefix: Tensor, lengths: Tensor) -> None:
        super().__init__(writer, context, width)
        self.prefix, self.lengths = prefix, lengths

    def step(self, tokens: Int[Tensor, "r"]) -> Float[Tensor, "r vocabulary"]:
        rows = torch.arange(tokens.size(0), device=tokens.device)
        self.prefix = torch.nn.functional.pad(self.prefix, (0, 1))
        self.prefix[rows, self.lengths] = tokens
        self.lengths = self.lengths + 1
        n = int(self.lengths.max())
        context = self.context and self.context.read_by(self.width * n)
        states = self.writer.stack(self.writer.embed(self.prefix[:, :n]), Mask(n, n, causal=True), 0, context)
        return self.writer.head(states[rows, self.lengths - 1])

    def select(self, rows: Int[Tensor, "s"]) -> None:
        sentences = self._sentences(rows)
        self.prefix, self.lengths = self.prefix[rows], self.lengths[rows]
        if sentences is not None:
            self.context = self.context.select(sentences)
