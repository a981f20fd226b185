"""Rows cut out of packed documents.

A place is a token that is read together with the one to be foretold, so a document of k tokens, ⟨bos⟩ and ⟨eos⟩
included, has k − 1 places: nothing is foretold behind ⟨eos⟩, and ⟨bos⟩ never is. Rows are cut from the places of all
documents laid end to end, so none but the last has padding, and every place is counted in one row and no other.
What a row holds of a document that began in an earlier row is a piece of its own: it cannot look back there. For
evaluation a row may begin with `context` places of the same document that an earlier row has counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from manyheads.data.stream.batch import TextBatch
from manyheads.data.stream.store import TokenStore
from manyheads.data.tokenizer import BOS, PAD


@dataclass(frozen=True)
class Cuts:
    """Row r reads the places [begins, ends) and counts those from `counted` on."""

    begins: Int[np.ndarray, "rows"]
    counted: Int[np.ndarray, "rows"]
    ends: Int[np.ndarray, "rows"]


def cut(document_ends: Int[np.ndarray, "d"], length: int, context: int) -> Cuts:
    """Rows of at most `length` places. document_ends: the place behind each document, ascending."""
    total = int(document_ends[-1]) if len(document_ends) else 0
    if context == 0:
        begins = np.arange(0, total, length)
        return Cuts(begins, begins, np.minimum(begins + length, total))
    starts, counted, ends, at = [], [], [], 0
    while at < total:
        document = int(np.searchsorted(document_ends, at, "right"))
        begin = max(at - context, int(document_ends[document - 1]) if document else 0)
        starts.append(begin)
        counted.append(at)
        at = min(begin + length, total)
        ends.append(at)
    return Cuts(*(np.array(found, np.int64) for found in (starts, counted, ends)))


class PackedRows(Dataset):
    """A tokenised split in rows of `length`. `rows[[3, 1, 4]]` is a TextBatch of these rows, in this order.

    sizes: bytes that each id stands for (vocabulary,).
    """

    def __init__(self, store: TokenStore, length: int, context: int, sizes: Int[np.ndarray, "vocabulary"]) -> None:
        self.store, self.sizes = store, sizes
        self.document_ends = np.asarray(store.ends) - np.arange(1, len(store) + 1)
        self.cuts = cut(self.document_ends, length, context)

    def __len__(self) -> int:
        return len(self.cuts.begins)

    @property
    def lengths(self) -> Int[np.ndarray, "rows 1"]:
        return (self.cuts.ends - self.cuts.begins)[:, None]

    def __getitem__(self, rows: int | Sequence[int]) -> TextBatch:
        index = np.atleast_1d(np.asarray(rows, np.int64))
        begins, counted, ends = (part[index, None] for part in (self.cuts.begins, self.cuts.counted, self.cuts.ends))
        places = begins + np.arange(int((ends - begins).max(initial=0)))
        real, places = places < ends, np.minimum(places, ends - 1)
        document = np.searchsorted(self.document_ends, places, "right")
        # A document's last token is no place, so every document before adds one to where a place is.
        ids, targets = (self.store.tokens[places + document + shift].astype(np.int64) for shift in (0, 1))
        counts, number = real & (places >= counted), document - document[:, :1]
        sizes = self.sizes[targets] - (ids == BOS)  # the space before a document is none of its bytes
        return TextBatch(
            index=torch.from_numpy(index),
            tokens=int(real.sum()),
            ids=torch.from_numpy(np.where(real, ids, PAD)),
            targets=torch.from_numpy(np.where(real, targets, PAD)),
            documents=torch.from_numpy(np.where(real, number, -1)),
            counted=torch.from_numpy(counts),
            several=bool(number.any()),
            bytes=int(sizes[counts].sum()),
        )

    def __getitems__(self, rows: Sequence[int]) -> TextBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]
