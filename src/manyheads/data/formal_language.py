"""Words of formal languages, each prefix to be labelled; see conf/data/formal_language.yaml for every option."""

import math
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from manyheads.data.base import WordSpec
from manyheads.data.batching import EveryRow, TokenBatches
from manyheads.data.formal.batch import WordRows
from manyheads.data.formal.draw import bins, words
from manyheads.data.formal.languages import OPENING, Counted, Dyck, Language, Parity
from manyheads.data.loader import close_finished_epoch, evaluation_loader, share, share_of_training, training_loader
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP, SPECIALS
from manyheads.errors import UserError


class FormalLanguageData(LightningDataModule):
    """Splits `train`, `val` and `test`; the test has parts of lengths (`bins`) up to far beyond those of training.

    After `setup()`: `spec`, `language`, `words(split)`, `rows(split)`, `bins` and the loaders.
    """

    def __init__(
        self,
        path: None,
        language: Literal["parity", "anbn", "dyck"],
        kinds: int,
        depth: int,
        shortest: int,
        longest: int,
        times: list[float],
        words: int,
        tests: int,
        corpus_seed: int,
        batch_tokens: int,
        evaluation_batch_tokens: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.name, self.kinds, self.depth = language, kinds, depth
        self.shortest, self.longest, self.times = shortest, longest, list(times)
        self.counts = {"train": words, "val": tests, "test": tests}
        self.corpus_seed, self.seed, self.workers = corpus_seed, seed, workers
        self.batch_tokens, self.evaluation_batch_tokens = batch_tokens, evaluation_batch_tokens
        self._refuse(path)
        self.language: Language = {"parity": Parity, "anbn": Counted}.get(language, lambda: Dyck(kinds, depth))()
        self.bins = bins(shortest, longest, self.times)
        self._words: dict[str, list[str]] = {}

    def save(self, folder: Path) -> None:
        """Nothing: how a word is read follows from the language alone."""

    def restore(self, folder: Path) -> "FormalLanguageData":
        return self

    def tests_alone(self, path: str) -> "FormalLanguageData":
        raise UserError(f"path={path}: words of a formal language are generated, so there are no other test sets.")

    def setup(self, stage: str | None = None) -> None:
        """Draws all words, whatever the stage: seconds."""
        if self._words:
            return
        trained = range(self.shortest, self.longest + 1)
        for split in ("train", "val"):
            self._words[split] = words(self.language, trained, self.counts[split], split, self._dice(split))
        self._words["test"] = [word for part, lengths in self.bins.items() for word in self._part(part, lengths)]
        self._refuse_empty()

    def words(self, split: str) -> list[str]:
        return self._words[split]

    def rows(self, split: str) -> WordRows:
        return self.rows_of(self._words[split])

    def rows_of(self, found: list[str]) -> WordRows:
        return WordRows([self.encode(word) for word in found], [self.language.mark(word) for word in found])

    def encode(self, word: str) -> list[int]:
        """⟨bos⟩ and the symbols; a UserError names a symbol that the language has not."""
        strange = next((symbol for symbol in word if symbol not in self.language.symbols), None)
        if strange is not None:
            raise UserError(
                f"{strange!r} in {word!r} is no symbol of data.language={self.name}: its symbols are "
                f"{' '.join(self.language.symbols)}."
            )
        return [BOS, *(len(SPECIALS) + self.language.symbols.index(symbol) for symbol in word)]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for."""
        names = [*SPECIALS, *self.language.symbols]
        return [names[i] for i in ids]

    @property
    def spec(self) -> WordSpec:
        size = len(SPECIALS) + len(self.language.symbols)
        return WordSpec(
            kind="formal_language",
            longest=max(map(len, (word for found in self._words.values() for word in found))) + 1,
            **{"source_vocabulary": size, "target_vocabulary": size, "joint": True},
            **{"pad": PAD, "bos": BOS, "eos": EOS, "sep": SEP},
            labels=self.language.labels,
        )

    @property
    def test_names(self) -> list[str]:
        return ["test"]

    def train_dataloader(self) -> DataLoader:
        rows = self.rows("train")
        if self.trainer and self.trainer.overfit_batches:  # the same batches in every epoch
            return self._evaluation(rows, self.batch_tokens)
        close_finished_epoch(self.trainer)
        # Lengths are mixed as chance has it: batches of one length each would be lessons of one length each.
        batches = TokenBatches(rows.lengths, self.batch_tokens, 256, self.seed, **share_of_training(self.trainer))
        return training_loader(rows, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation(self.rows("val"), self.evaluation_batch_tokens)

    def test_dataloader(self) -> list[DataLoader]:
        return [self._evaluation(self.rows("test"), self.evaluation_batch_tokens)]

    def _evaluation(self, rows: WordRows, budget: int) -> DataLoader:
        return evaluation_loader(rows, EveryRow(rows.lengths, budget, *share(self.trainer)), self.workers)

    def _part(self, part: str, lengths: range) -> list[str]:
        """Beyond the trained lengths any word is new."""
        split = "test" if lengths.start <= self.longest else None
        return words(self.language, lengths, self.counts["test"], split, self._dice(part))

    def _dice(self, part: str) -> Random:
        return Random(f"{self.corpus_seed} {part}")

    def _refuse_empty(self) -> None:
        filled = {
            part: any(len(word) in lengths for word in self._words["test"]) for part, lengths in self.bins.items()
        }
        filled |= {split: bool(self._words[split]) for split in ("train", "val")}
        empty = [name for name, any_word in filled.items() if not any_word]
        if empty:
            raise UserError(
                f"data.language={self.name} has too few words of {self.shortest} to {self.longest} symbols for "
                f"{' and '.join(empty)}: raise data.longest, or leave small parts out of data.times."
            )

    def _refuse(self, path: None) -> None:
        times = [math.inf if math.isnan(part) else part for part in self.times]
        smallest, counts = min(self.batch_tokens, self.evaluation_batch_tokens), min(self.counts.values())
        for wrong, what in (
            (path is not None, f"data.path={path}: words of a formal language are generated; leave it out"),
            (not 1 <= self.kinds <= len(OPENING), f"data.kinds={self.kinds} brackets: give 1 to {len(OPENING)}"),
            (self.depth < 2, f"data.depth={self.depth} nests nothing: give 2 or more"),
            (
                not 2 <= self.shortest < self.longest,
                f"data.shortest={self.shortest} and data.longest={self.longest} leave no lengths: give 2 or more, "
                "and a longest beyond it",
            ),
            (
                not times or times[0] <= 0 or sorted(set(times)) != times or times[-1] > 1000,
                f"data.times={self.times} are no multiples of the longest word: give ascending ones, such as [1,2,4]",
            ),
            (counts < 1, "data.words and data.tests have to be 1 or more"),
            (
                smallest <= self.longest,
                f"data.batch_tokens and data.evaluation_batch_tokens have to hold words of data.longest={self.longest} "
                f"with their ⟨bos⟩, and the smaller is {smallest}: raise it",
            ),
        ):
            if wrong:
                raise UserError(f"{what}.")
