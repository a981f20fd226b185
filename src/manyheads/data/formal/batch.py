"""Words of a formal language, and the label of each of their prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

from manyheads.data.batch import Batch, Ragged


@dataclass
class WordBatch(Batch):
    """Rows of ⟨bos⟩ and a word, padded on the right with 0; at each place stands the label of what has been read.

    ids: symbols. lengths: without padding. labels: the label of the prefix that ends here (0 where padded).
    """

    ids: Int[Tensor, "b n"]
    lengths: Int[Tensor, "b"]
    labels: Int[Tensor, "b n"]

    @property
    def cells(self) -> int:
        return self.ids.numel()


class WordRows(Dataset):
    """A split. `rows[[3, 1, 4]]` is a WordBatch of these words, in this order."""

    def __init__(self, ids: list[list[int]], labels: list[list[int]]) -> None:
        self.ids, self.labels = Ragged(ids), Ragged(labels)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int[np.ndarray, "rows 1"]:
        return self.ids.lengths[:, None]

    def __getitem__(self, rows: int | Sequence[int]) -> WordBatch:
        index = np.atleast_1d(np.asarray(rows, np.int64))
        return WordBatch(
            index=torch.from_numpy(index),
            tokens=int(self.ids.lengths[index].sum()),
            ids=torch.from_numpy(self.ids.padded(index)),
            lengths=torch.from_numpy(self.ids.lengths[index]),
            labels=torch.from_numpy(self.labels.padded(index)),
        )

    def __getitems__(self, rows: Sequence[int]) -> WordBatch:
        """What a DataLoader with a `batch_sampler` asks for."""
        return self[rows]
