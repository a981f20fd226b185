"""Token ids of a split, kept flat, and the padded batches cut out of them.

A batch is asked for by a list of rows and is filled by one indexing operation a side, whatever the number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

PAD = 0


@dataclass(frozen=True)
class PairBatch:
    """Sentence pairs, padded on the right with 0.

    Source rows are tokens, eos; target rows bos, tokens, eos. `index`: the rows' numbers in their split.
    `tokens`: real tokens of both sides, known without asking the device.
    """

    source: Int[Tensor, "b n"]
    source_lengths: Int[Tensor, "b"]
    target: Int[Tensor, "b m"]
    target_lengths: Int[Tensor, "b"]
    index: Int[Tensor, "b"]
    tokens: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.index)

    @property
    def cells(self) -> int:
        """Tokens and padding of both sides; 1 - tokens / cells is the padding waste."""
        return self.source.numel() + self.target.numel()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PairBatch":
        """The batch on a device. Pinned memory is always copied without waiting: nobody pins it for another reason,
        and Lightning asks objects other than tensors for a blocking copy.
        """
        eager = non_blocking or self.source.is_pinned()
        return self._each(lambda tensor: tensor.to(device, non_blocking=eager))

    def pin_memory(self) -> "PairBatch":
        """In page-locked memory, from which a copy to the GPU runs beside the computation."""
        return self._each(Tensor.pin_memory)

    def _each(self, change) -> "PairBatch":
        tensors = (self.source, self.source_lengths, self.target, self.target_lengths, self.index)
        return PairBatch(*map(change, tensors), self.tokens)


class Ragged:
    """Lists of ids of unequal length, as one array and the place where each begins."""

    def __init__(self, rows: Sequence[Sequence[int]]):
        self.lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat = np.fromiter((i for row in rows for i in row), np.int32, int(self.lengths.sum()))

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows: Sequence[int]) -> np.ndarray:
        """(b,) row numbers -> (b, longest of them) ids."""
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths[rows]
        places = np.arange(lengths.max(initial=0))
        real = places < lengths[:, None]
        filled = np.full(real.shape, PAD, np.int64)
        filled[real] = self.flat[(self.starts[rows, None] + places)[real]]
        return filled


class PairRows(Dataset):
    """A tokenised split. `rows[[3, 1, 4]]` is a PairBatch of these rows, in this order."""

    def __init__(self, source: Ragged, target: Ragged):
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: int | Sequence[int]) -> PairBatch:
        index = np.atleast_1d(np.asarray(rows, np.int64))
        lengths = [side.lengths[index] for side in (self.source, self.target)]
        return PairBatch(
            torch.from_numpy(self.source.padded(index)),
            torch.from_numpy(lengths[0]),
            torch.from_numpy(self.target.padded(index)),
            torch.from_numpy(lengths[1]),
            torch.from_numpy(index),
            int(sum(side.sum() for side in lengths)),
        )

    def __getitems__(self, rows: Sequence[int]) -> PairBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]
