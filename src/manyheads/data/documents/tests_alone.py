"""Test sets that a run never saw, read and cut as its own were, with its tokenizer and its labels."""

from lightning import LightningDataModule

from manyheads.data.documents.prepared import Prepared
from manyheads.data.documents.sets import DocumentSets


class DocumentTests(DocumentSets, LightningDataModule):
    """What `ClinicalLongData.tests_alone` gives; `data` is the module that prepared the sets."""

    def __init__(self, data: DocumentSets, prepared: dict[str, Prepared]) -> None:
        super().__init__()
        self.labels, self.tokenizer = data.labels, data.tokenizer
        self.workers, self.evaluation_batch_tokens = data.workers, data.evaluation_batch_tokens
        self._prepared = prepared
