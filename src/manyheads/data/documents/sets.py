"""What a task asks of a data module that holds documents, whichever splits it has."""

import numpy as np
from torch.utils.data import DataLoader

from manyheads.data.batching import EveryRow
from manyheads.data.documents.prepared import Prepared
from manyheads.data.documents.rows import DocumentRows
from manyheads.data.loader import evaluation_loader, share


class DocumentSets:
    """Beside a LightningDataModule. Documents are counted as `DocumentBatch.index` counts them.

    Needs: `_prepared` (split -> Prepared), `trainer`, `workers`, `evaluation_batch_tokens`.
    """

    _prepared: dict[str, Prepared]

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return [name for name in self._prepared if name not in ("train", "val")]

    def texts(self, split: str) -> list[str]:
        """All texts of a split, read into memory."""
        documents = self._prepared[split].documents
        return [documents.text(number) for number in range(len(documents))]

    def question(self, split: str) -> list[str] | None:
        """What is asked of each document; None where nothing is."""
        questions = self._prepared[split].documents.questions
        return None if None in questions else list(questions)

    def targets(self, split: str) -> np.ndarray:
        """(d,) classes, or (d, classes) of 0 and 1."""
        return self._prepared[split].targets

    def names(self, split: str) -> list[str]:
        """By the column `data.name`, or else by file and row."""
        return list(self._prepared[split].documents.names)

    def spans(self, split: str) -> list[list[tuple[int, int]]]:
        """For each chunk of each document, as evaluated: the characters [begin, end) of the document's text."""
        chunks = self._prepared[split].chunks
        return [chunks.characters(number) for number in range(len(chunks))]

    def test_dataloader(self) -> list[DataLoader]:
        return [
            self.evaluation(DocumentRows(self._prepared[n].chunks, self._prepared[n].targets)) for n in self.test_names
        ]

    def evaluation(self, rows: DocumentRows, budget: int | None = None) -> DataLoader:
        """Every document once, with all its chunks; a document over the budget is a batch of its own."""
        batches = EveryRow(rows.lengths, budget or self.evaluation_batch_tokens, *share(self.trainer))
        return evaluation_loader(rows, batches, self.workers)
