"""Documents as a model reads them: chunks of ids, and to which document of the batch each belongs."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from manyheads.data.batch import Batch


@dataclass
class DocumentBatch(Batch):
    """c chunks of b documents; read whole, a document is one chunk.

    ids: rows of ⟨bos⟩ [question ⟨sep⟩] chunk ⟨eos⟩, padded on the right with 0. lengths: without padding.
    document: to which document of the batch a chunk belongs, ascending. place: its number within the document, from 0;
    where chunks were drawn by chance, the number it has among all of them.
    labels: a class each, or 0 and 1 for every class where a document may have several; None where nobody knows them.
    """

    ids: Int[Tensor, "c n"]
    lengths: Int[Tensor, "c"]
    document: Int[Tensor, "c"]
    place: Int[Tensor, "c"]
    labels: Int[Tensor, "b"] | Float[Tensor, "b classes"] | None

    @property
    def cells(self) -> int:
        return self.ids.numel()
