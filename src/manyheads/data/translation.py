"""Sentence pairs for training and scoring a translator; see conf/data/translation.yaml for every option."""

from pathlib import Path

import numpy as np
from datasets import Dataset
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from manyheads.data.base import TokenSpec
from manyheads.data.batch import PairRows, Ragged
from manyheads.data.batching import EveryRow, TokenBatches
from manyheads.data.loader import close_finished_epoch, evaluation_loader, share, share_of_training, training_loader
from manyheads.data.pairs import SIDES, settle, where
from manyheads.data.sources import Origin, read_splits, read_tests
from manyheads.data.tokenizer import PairTokenizer, train_once
from manyheads.errors import UserError


class TranslationData(LightningDataModule):
    """Splits `train`, `val` and one or more test sets, tokenised once and kept in memory.

    After `setup()`: `spec`, `tokenizer`, `test_names`, `texts(split)` and the loaders.
    """

    def __init__(
        self,
        path: str | None,
        hub: str | None,
        source: str,
        target: str,
        on_bad_row: str,
        longest: int,
        pairs: int,
        corpus_seed: int,
        vocabulary: int,
        joint: bool,
        lowercase: bool,
        batch_tokens: int,
        evaluation_batch_tokens: int,
        pool: int,
        workers: int,
        seed: int,
        cache: str,
    ):
        super().__init__()
        self.origin = Origin(path, hub, source, target, on_bad_row, pairs, corpus_seed)
        self.longest = longest
        self.table = {"vocabulary": vocabulary, "joint": joint, "lowercase": lowercase, "cache": cache}
        self.batch_tokens, self.evaluation_batch_tokens = batch_tokens, evaluation_batch_tokens
        self.pool, self.workers, self.seed = pool, workers, seed
        self.tokenizer: PairTokenizer | None = None
        self._texts: dict[str, Dataset] = {}
        self._rows: dict[str, PairRows] = {}

    def save(self, folder: Path) -> None:
        """tokenizer.json: what a finished model needs of its data."""
        self.tokenizer.save(folder / "tokenizer.json")

    def restore(self, folder: Path) -> "TranslationData":
        """Takes a trained run's tokenizer instead of training one; before `setup`."""
        self.tokenizer = PairTokenizer.load(folder / "tokenizer.json")
        return self

    def tests_alone(self, path: str) -> "TestsAlone":
        """The test sets of another folder or file, read as this data's own."""
        return TestsAlone(self, path)

    def prepare_data(self) -> None:
        """Reads the source and trains the tokenizer once a machine, so that the other processes find it cached."""
        self._read()

    def setup(self, stage: str | None = None) -> None:
        """Reads and tokenises every split, whatever the stage: the longest sequence of any of them is in the spec."""
        if self._rows:
            return
        self._read()
        self._rows = {name: self._tokenise(texts) for name, texts in self._texts.items()}
        self._leave_long_rows_out()

    @property
    def spec(self) -> TokenSpec:
        sides = [side.lengths.max() for rows in self._rows.values() for side in (rows.source, rows.target)]
        return self.tokenizer.spec(int(max(sides)))

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return [name for name in self._texts if name not in ("train", "val")]

    def texts(self, split: str) -> tuple[list[str], list[str]]:
        """Sources and targets as they were read; `PairBatch.index` counts in them."""
        return list(self._texts[split]["source"]), list(self._texts[split]["target"])

    def train_dataloader(self) -> DataLoader:
        if self.trainer and self.trainer.overfit_batches:  # the same batches in every epoch
            return self._evaluation(self._rows["train"], self.batch_tokens)
        close_finished_epoch(self.trainer)
        texts, rows = self._texts["train"], self._rows["train"]
        sizes = (_lengths(rows), self.batch_tokens, self.pool, self.seed)
        batches = TokenBatches(*sizes, **share_of_training(self.trainer), where=lambda row: where(texts, row))
        return training_loader(rows, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation(self._rows["val"], self.evaluation_batch_tokens)

    def test_dataloader(self) -> list[DataLoader]:
        return [self._evaluation(self._rows[name], self.evaluation_batch_tokens) for name in self.test_names]

    def loader_of(self, texts: Dataset) -> DataLoader:
        """Any pairs, such as `read_tests` gives, as evaluation batches. Needs a tokenizer, no `setup`."""
        return self._evaluation(self._tokenise(texts), self.evaluation_batch_tokens)

    def _read(self) -> None:
        self._texts = self._texts or read_splits(self.origin)
        if self.tokenizer is None:
            train = self._texts["train"]
            self.tokenizer = train_once(list(train["source"]), list(train["target"]), **self.table)

    def _tokenise(self, texts: Dataset) -> PairRows:
        source = self.tokenizer.encode_source(list(texts["source"]))
        return PairRows(Ragged(source), Ragged(self.tokenizer.encode_target(list(texts["target"]))))

    def _leave_long_rows_out(self) -> None:
        texts, lengths = self._texts["train"], _lengths(self._rows["train"])
        long = np.flatnonzero((lengths > self.longest).any(1))
        named = [self._name_long(texts, int(row), lengths[row]) for row in long]
        settle(named, len(texts), self.origin.on_bad_row)
        if len(long) == len(texts):
            raise UserError(f"data.longest={self.longest} leaves no row to train on; raise it.")
        if len(long):
            self._texts["train"] = texts.select(np.setdiff1d(np.arange(len(texts)), long))
            self._rows["train"] = self._tokenise(self._texts["train"])

    def _name_long(self, texts: Dataset, row: int, lengths: np.ndarray) -> str:
        side = SIDES[int(lengths.argmax())]
        place = where(texts, row, side)
        return f"{place}: the {side} has {lengths.max()} tokens, more than data.longest={self.longest}"

    def _evaluation(self, rows: PairRows, budget: int) -> DataLoader:
        batches = EveryRow(_lengths(rows), budget, *share(self.trainer))
        return evaluation_loader(rows, batches, self.workers)


class TestsAlone(LightningDataModule):
    """The test sets of `path`, in the form in which `data` reads its own; a UserError where there are none."""

    def __init__(self, data: TranslationData, path: str) -> None:
        super().__init__()
        origin = data.origin
        self.data, self.tokenizer = data, data.tokenizer
        self._sets = read_tests(path, origin.source, origin.target, origin.on_bad_row)

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return list(self._sets)

    def test_dataloader(self) -> list[DataLoader]:
        return [self.data.loader_of(texts) for texts in self._sets.values()]

    def texts(self, name: str) -> tuple[list[str], list[str]]:
        """Sources and targets as they were read."""
        return list(self._sets[name]["source"]), list(self._sets[name]["target"])


def _lengths(rows: PairRows) -> np.ndarray:
    """(rows, 2) tokens of source and target."""
    return np.stack([rows.source.lengths, rows.target.lengths], 1)
