"""Token ids of a split, kept flat, and the padded batches cut out of them.

A batch is asked for by a list of rows and is filled by one indexing operation a side, whatever the number of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

PAD = 0


@dataclass
class Batch:
    """What every family's batch can do. Fields are tensors, None or plain values.

    index: the rows' numbers in their split, (b,). tokens: what is read, without padding; known without asking a device.
    Not frozen, since Lightning writes what it converts for precision bf16-true into a copy.
    """

    index: Int[Tensor, "b"]
    tokens: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.index)

    @property
    def cells(self) -> int:
        """Tokens and padding; 1 - tokens / cells is the padding waste."""
        return self.tokens

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch on a device. Pinned memory is always copied without waiting: nobody pins it for another reason,
        and Lightning asks objects other than tensors for a blocking copy.
        """
        eager = non_blocking or self.index.is_pinned()
        return self._each(lambda tensor: tensor.to(device, non_blocking=eager))

    def pin_memory(self) -> Self:
        """In page-locked memory, from which a copy to the GPU runs beside the computation."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


@dataclass
class PairBatch(Batch):
    """Sentence pairs, padded on the right with 0. Source rows are tokens, eos; target rows bos, tokens, eos."""

    source: Int[Tensor, "b n"]
    source_lengths: Int[Tensor, "b"]
    target: Int[Tensor, "b m"]
    target_lengths: Int[Tensor, "b"]

    @property
    def cells(self) -> int:
        return self.source.numel() + self.target.numel()


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
            index=torch.from_numpy(index),
            tokens=int(sum(side.sum() for side in lengths)),
            source=torch.from_numpy(self.source.padded(index)),
            source_lengths=torch.from_numpy(lengths[0]),
            target=torch.from_numpy(self.target.padded(index)),
            target_lengths=torch.from_numpy(lengths[1]),
        )

    def __getitems__(self, rows: Sequence[int]) -> PairBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]
