"""Rows of packed text: documents one after another, each reading itself alone."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from manyheads.data.batch import Batch


@dataclass
class TextBatch(Batch):
    """`tokens` real places in rows of n, padded on the right; positions count from the row's start.

    ids: what is read (0 where padded); targets: the id behind each of them in its document (0 where padded).
    documents: the document's number within its row, 0, 1, …; −1 where padded. counted: targets that count; the others
    are padding, or context that an earlier row has counted.
    several: whether any row holds more than one document. bytes: UTF-8 bytes that the counted targets stand for.
    """

    ids: Int[Tensor, "b n"]
    targets: Int[Tensor, "b n"]
    documents: Int[Tensor, "b n"]
    counted: Bool[Tensor, "b n"]
    several: bool
    bytes: int

    @property
    def cells(self) -> int:
        return self.ids.numel()
