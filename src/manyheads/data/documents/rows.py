"""A split as chunks of ids, and the batches cut out of it.

A training batch's row numbers carry the epoch (`row + epoch · documents`), so that which chunks of a document are drawn
follows from the number alone: a run that is resumed, or whose batches other processes make, draws the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from manyheads.data.batch import PAD, Ragged
from manyheads.data.batching import TokenBatches
from manyheads.data.documents.batch import DocumentBatch
from manyheads.data.documents.store import TokenStore
from manyheads.data.tokenizer import BOS, EOS, SEP


@dataclass(frozen=True)
class Chunks:
    """Where the chunks of each document lie.

    text (d,): the text of a document in `store`. spans (all, 2): tokens of chunk after chunk; counts (d,): how many a
    document has. openings: what stands before each of its chunks (⟨bos⟩, a question and ⟨sep⟩ where there is one).
    """

    store: TokenStore
    text: Int[np.ndarray, "d"]
    spans: Int[np.ndarray, "all 2"]
    counts: Int[np.ndarray, "d"]
    openings: Ragged
    begins: Int[np.ndarray, "d"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "begins", np.cumsum(self.counts) - self.counts)  # frozen for everybody else

    def __len__(self) -> int:
        return len(self.text)

    def longest(self) -> Int[np.ndarray, "d"]:
        """Ids of each document's longest row, all specials included."""
        bodies = np.maximum.reduceat(self.spans[:, 1] - self.spans[:, 0], self.begins) if len(self) else self.counts
        return bodies + self.openings.lengths + 1

    def row(self, document: int, place: int) -> np.ndarray:
        """Ids of one chunk with its opening and ⟨eos⟩."""
        begin, end = self.spans[self.begins[document] + place]
        opening = self.openings.flat[self.openings.starts[document] :][: self.openings.lengths[document]]
        return np.concatenate([opening, self.store.ids(int(self.text[document]), int(begin), int(end)), [EOS]])

    def characters(self, document: int) -> list[tuple[int, int]]:
        """Of each chunk of a document, in the document's text."""
        first = self.begins[document]
        spans = self.spans[first : first + self.counts[document]].tolist()
        return [self.store.characters(int(self.text[document]), *span) for span in spans]


def opening(question: list[int] | None) -> list[int]:
    """What stands before each chunk."""
    return [BOS] if question is None else [BOS, *question, SEP]


class DocumentRows(Dataset):
    """`rows[[3, 1, 4]]` is a DocumentBatch of these documents, in this order, with all their chunks.

    targets: (d,) classes, or (d, classes) of 0 and 1, or None.
    most, seed: for training, at most so many chunks of a document are drawn in an epoch; None: all.
    """

    def __init__(self, chunks: Chunks, targets: np.ndarray | None, most: int | None = None, seed: int = 0):
        self.chunks, self.targets, self.most, self.seed = chunks, targets, most, seed

    def __len__(self) -> int:
        return len(self.chunks)

    @property
    def lengths(self) -> Int[np.ndarray, "d 1"]:
        """What each document costs, so that documents x the greatest of them bounds what a batch of them costs."""
        counts, longest = self.chunks.counts, self.chunks.longest()
        if self.most is not None:
            counts = np.minimum(counts, self.most)
        # One long chunk widens the rows of all chunks in its batch, so those of a document that has more than one
        # count as long as the longest of all.
        widest = longest.max(initial=0)
        return (counts * np.where(counts > 1, widest, longest))[:, None]

    def __getitem__(self, rows: int | Sequence[int]) -> DocumentBatch:
        epochs, index = np.divmod(np.atleast_1d(np.asarray(rows, np.int64)), max(len(self), 1))
        drawn = [self._draw(int(epoch), int(row)) for epoch, row in zip(epochs, index, strict=True)]
        wanted = [(int(row), int(place)) for row, places in zip(index, drawn, strict=True) for place in places]
        parts = [self.chunks.row(row, place) for row, place in wanted]
        lengths = np.array([len(part) for part in parts], np.int64)
        return DocumentBatch(
            index=torch.from_numpy(index),
            tokens=int(lengths.sum()),
            ids=torch.from_numpy(_padded(parts, lengths)),
            lengths=torch.from_numpy(lengths),
            document=torch.from_numpy(np.repeat(np.arange(len(index)), [len(places) for places in drawn])),
            place=torch.from_numpy(np.concatenate(drawn)),
            labels=self._labels(index),
        )

    def __getitems__(self, rows: Sequence[int]) -> DocumentBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]

    def _draw(self, epoch: int, row: int) -> Int[np.ndarray, "chunks"]:
        """Numbers of the document's chunks in this epoch, ascending."""
        count = int(self.chunks.counts[row])
        if self.most is None or count <= self.most:
            return np.arange(count)
        return np.sort(np.random.default_rng((self.seed, epoch, row)).choice(count, self.most, replace=False))

    def _labels(self, index: np.ndarray) -> torch.Tensor | None:
        if self.targets is None:
            return None
        return torch.from_numpy(self.targets[index].astype(np.int64 if self.targets.ndim == 1 else np.float32))


class ChunkBatches(TokenBatches):
    """TokenBatches whose row numbers carry the epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        shift = self.epoch * len(self._lengths)
        return iter([[row + shift for row in rows] for rows in super().__iter__()])


def _padded(parts: list[np.ndarray], lengths: np.ndarray) -> Int[np.ndarray, "c n"]:
    filled = np.full((len(parts), lengths.max(initial=0)), PAD, np.int64)
    for row, part in zip(filled, parts, strict=True):
        row[: len(part)] = part
    return filled
