"""Text to be foretold, token by token; see conf/data/language_model.yaml for every option."""

import logging
import time
from pathlib import Path

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from manyheads.data.base import TokenSpec
from manyheads.data.batching import EveryRow, TokenBatches
from manyheads.data.loader import close_finished_epoch, evaluation_loader, share, share_of_training, training_loader
from manyheads.data.stream.batch import TextBatch
from manyheads.data.stream.learn import learnt
from manyheads.data.stream.origin import Origin, read_splits, read_tests
from manyheads.data.stream.packing import PackedRows
from manyheads.data.stream.source import Documents
from manyheads.data.stream.store import TokenStore, stored
from manyheads.data.stream.tokenizer import StreamTokenizer
from manyheads.errors import UserError

log = logging.getLogger(__name__)


class LanguageModelData(LightningDataModule):
    """Splits `train`, `val` and one or more test sets, tokenised once, on disk, and cut into rows of `length`.

    After `setup()`: `spec`, `tokenizer`, `test_names`, `store(split)` and the loaders.
    """

    def __init__(
        self,
        path: str | None,
        hub: str | None,
        text: str,
        separator: str | None,
        on_bad_row: str,
        length: int,
        context: int | None,
        stories: int,
        corpus_seed: int,
        vocabulary: int,
        learn_from: int,
        batch_tokens: int,
        evaluation_batch_tokens: int,
        workers: int,
        seed: int,
        cache: str,
    ) -> None:
        super().__init__()
        self._born: float | None = time.monotonic()
        # Typed on a command line, \n arrives as two characters.
        separator = separator and separator.replace("\\n", "\n").replace("\\t", "\t")
        self.origin = Origin(path, hub, text, separator, on_bad_row, stories, corpus_seed)
        self.length, self.context = length, context or 0
        self.vocabulary, self.learn_from = vocabulary, learn_from
        self.batch_tokens, self.evaluation_batch_tokens = batch_tokens, evaluation_batch_tokens
        self.workers, self.seed, self.cache = workers, seed, cache
        self._refuse_odd_sizes()
        self.tokenizer: StreamTokenizer | None = None
        self._stores: dict[str, TokenStore] = {}

    def save(self, folder: Path) -> None:
        """tokenizer.json: what a finished model needs of its data."""
        self.tokenizer.save(folder / "tokenizer.json")

    def restore(self, folder: Path) -> "LanguageModelData":
        """Takes a trained run's tokenizer instead of training one; before `setup`."""
        self.tokenizer = StreamTokenizer.load(folder / "tokenizer.json")
        return self

    def tests_alone(self, path: str) -> "TestsAlone":
        """The test sets of another folder or file, read as this data's own."""
        return TestsAlone(self, path)

    def prepare_data(self) -> None:
        """Trains the tokenizer and tokenises once a machine, so that the other processes find both on disk."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Opens every split, whatever the stage; what is not on disk yet is tokenised."""
        if self._stores:
            return
        splits = read_splits(self.origin)
        if self.tokenizer is None:
            bad = self.origin.on_bad_row
            self.tokenizer = learnt(splits["train"], self.vocabulary, self.learn_from, bad, self.cache)
        stores = {name: self.tokenised(name, documents) for name, documents in splits.items()}
        empty = [name for name, store in stores.items() if not len(store)]
        if empty:
            raise UserError(
                f"{self.origin.hub or self.origin.path} leaves no document for {' and '.join(empty)}; bring more "
                'documents, a file for each split, or cut documents out of the files with data.separator="\\n\\n".'
            )
        self._stores = stores

    @property
    def spec(self) -> TokenSpec:
        return self.tokenizer.spec(self.length)

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return [name for name in self._stores if name not in ("train", "val")]

    def store(self, split: str) -> TokenStore | None:
        """The ids of a split; None where there is no such split."""
        return self._stores.get(split)

    def train_dataloader(self) -> DataLoader:
        rows = self.rows(self._stores["train"], 0)
        if self.trainer and self.trainer.overfit_batches:  # the same batches in every epoch
            batches = EveryRow(rows.lengths, self.batch_tokens, *share(self.trainer))
            return evaluation_loader(rows, batches, self.workers)
        close_finished_epoch(self.trainer)
        sizes = (rows.lengths, self.batch_tokens, len(rows), self.seed)
        batches = TokenBatches(*sizes, **share_of_training(self.trainer))
        return training_loader(rows, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.loader_of(self._stores["val"])

    def test_dataloader(self) -> list[DataLoader]:
        return [self.loader_of(self._stores[name]) for name in self.test_names]

    def loader_of(self, store: TokenStore) -> DataLoader:
        """Any tokenised documents as evaluation batches."""
        rows = self.rows(store, self.context)
        batches = EveryRow(rows.lengths, self.evaluation_batch_tokens, *share(self.trainer))
        return evaluation_loader(rows, batches, self.workers)

    def tokenised(self, name: str, documents: Documents) -> TokenStore:
        return stored(name, documents, self.tokenizer, self.origin.on_bad_row, self.cache)

    def rows(self, store: TokenStore, context: int) -> PackedRows:
        return PackedRows(store, self.length, context, self.tokenizer.bytes)

    def on_before_batch_transfer(self, batch: TextBatch, dataloader_idx: int) -> TextBatch:
        if self._born is not None and self.trainer and self.trainer.training:
            log.info("first batch after %.1f s", time.monotonic() - self._born)
            self._born = None
        return batch

    def _refuse_odd_sizes(self) -> None:
        smallest = min(self.batch_tokens, self.evaluation_batch_tokens)
        for wrong, what in (
            (self.length < 2, f"data.length={self.length} is no length of a row: give 2 or more"),
            (self.context < 0, f"data.context={self.context} is no number of tokens: give 0 or more, or null"),
            (
                self.context >= self.length,
                f"data.context={self.context} leaves nothing to count in rows of data.length={self.length}: "
                "give less, half the length at most",
            ),
            (
                smallest < self.length,
                f"data.batch_tokens and data.evaluation_batch_tokens have to hold a row of data.length={self.length}, "
                f"and the smaller is {smallest}: raise it",
            ),
            (self.learn_from < 1, f"data.learn_from={self.learn_from} leaves no text to learn a vocabulary from"),
        ):
            if wrong:
                raise UserError(f"{what}.")


class TestsAlone(LightningDataModule):
    """The test sets of `path`, in the form in which `data` reads its own; a UserError where there are none."""

    __test__ = False

    def __init__(self, data: LanguageModelData, path: str) -> None:
        super().__init__()
        self.data, self.tokenizer = data, data.tokenizer
        found = read_tests(path, data.origin)
        self._stores = {name: data.tokenised(name, documents) for name, documents in found.items()}
        if not all(map(len, self._stores.values())):
            raise UserError(f"{path} holds no text to test with.")

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return list(self._stores)

    def store(self, split: str) -> TokenStore | None:
        return self._stores.get(split)

    def test_dataloader(self) -> list[DataLoader]:
        self.data.trainer = self.trainer  # which says what part of the rows is this process's
        return [self.data.loader_of(store) for store in self._stores.values()]
