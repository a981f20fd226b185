"""Long documents to be labelled; see conf/data/clinical_long.yaml for every option."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from manyheads import atomic
from manyheads.data.base import DocumentSpec
from manyheads.data.documents.documents import Columns, Documents
from manyheads.data.documents.labels import Labelling, report_repeats
from manyheads.data.documents.prepared import Preparation, Prepared, encode_questions, train_tokenizer
from manyheads.data.documents.reading import Reading
from manyheads.data.documents.rows import ChunkBatches, DocumentRows
from manyheads.data.documents.sets import DocumentSets
from manyheads.data.documents.sources import Notes, Origin, read_splits, read_tests
from manyheads.data.documents.splits import check_filled, keep_apart
from manyheads.data.documents.store import in_memory
from manyheads.data.documents.tests_alone import DocumentTests
from manyheads.data.documents.tokenizer import TextTokenizer
from manyheads.data.loader import close_finished_epoch, share_of_training, training_loader
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP
from manyheads.errors import UserError

log = logging.getLogger(__name__)

Span = tuple[int, int]


class ClinicalLongData(DocumentSets, LightningDataModule):
    """Splits `train`, `val` and one or more test sets, tokenised once and mapped into memory.

    After `setup()`: `spec`, `labels`, `tokenizer`, `test_names`, what `DocumentSets` says of a split, and the loaders.
    """

    def __init__(
        self,
        path: str | None,
        hub: str | None,
        text: str,
        label: str,
        multilabel: bool,
        separator: str | None,
        question: str | list[str] | None,
        questions: str | None,
        key: str | None,
        name: str | None,
        split: str | None,
        group: str | None,
        most_frequent: int | None,
        unlabelled: Literal["drop", "keep"],
        on_bad_row: Literal["refuse", "skip"],
        on_duplicate: Literal["drop", "keep", "refuse"],
        documents: int,
        corpus_seed: int,
        length: int,
        depth: list[float],
        noise: float,
        read: Literal["chunked", "whole"],
        longest: int,
        chunk: int,
        overlap: int,
        boundaries: Literal["tokens", "sentences"],
        train_chunks: int | None,
        word_dropout: float,
        pool: Literal["attention", "mean", "max", "first"],
        aggregate: Literal["mean", "max", "noisy_or", "attention", "hierarchical"],
        layers: int,
        bag_of_words: bool,
        vocabulary: int,
        lowercase: bool,
        batch_tokens: int,
        evaluation_batch_tokens: int,
        bucket: int,
        workers: int,
        seed: int,
        cache: str,
    ):
        super().__init__()
        asked = () if question is None else (question,) if isinstance(question, str) else tuple(question)
        columns = Columns(text, label, asked, split, group, name, key, separator or "", multilabel)
        notes = Notes(documents, corpus_seed, length, tuple(depth), noise)
        self.origin = Origin(path, hub, questions, columns, on_bad_row, cache, notes)
        self.reading = Reading(read, longest, chunk, overlap, boundaries)
        self.labelling = Labelling(label, multilabel, most_frequent, unlabelled, on_bad_row)
        self.on_duplicate = on_duplicate
        self.table = {"vocabulary": vocabulary, "lowercase": lowercase, "cache": cache}
        self.train_chunks, self.batch_tokens, self.bucket = train_chunks, batch_tokens, bucket
        self.evaluation_batch_tokens, self.workers, self.seed = evaluation_batch_tokens, workers, seed
        self.form = {
            "pool": pool,
            "aggregate": aggregate,
            "layers": layers,
            "bag_of_words": bag_of_words,
            "word_dropout": word_dropout,
        }
        self.tokenizer: TextTokenizer | None = None
        self.labels: tuple[str, ...] | None = None
        self._prepared: dict[str, Prepared] = {}
        self._began: float | None = None

    def save(self, folder: Path) -> None:
        """tokenizer.json and labels.json."""
        self.tokenizer.save(folder / "tokenizer.json")
        atomic.write_text(folder / "labels.json", json.dumps(self.labels, ensure_ascii=False) + "\n")

    def restore(self, folder: Path) -> "ClinicalLongData":
        """Takes a finished run's tokenizer and labels instead of its own; before `setup`."""
        self.tokenizer = TextTokenizer.load(folder / "tokenizer.json")
        path = folder / "labels.json"
        try:
            self.labels = tuple(str(label) for label in json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as problem:
            raise UserError(f"{path} is missing or damaged ({problem}); a run writes it as it begins.") from problem
        return self

    def prepare_data(self) -> None:
        """Reads, trains the tokenizer and tokenises once a machine, so that the other processes find it cached."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Prepares every split, whatever the stage: the longest row of any of them is in the spec."""
        if self._prepared:
            return
        self._began = time.monotonic()
        self._check()
        found = self._read()
        if self.tokenizer is None:
            self.tokenizer = train_tokenizer(found["train"], **self.table)
        self._prepared = self._prepare(found)
        sizes = ", ".join(f"{name} {len(split.documents):,}" for name, split in self._prepared.items())
        log.info("documents: %s; ready after %.1f s", sizes, time.monotonic() - self._began)

    @property
    def spec(self) -> DocumentSpec:
        size, chunks = self.tokenizer.size, [split.chunks for split in self._prepared.values()]
        return DocumentSpec(
            kind="clinical_long",
            longest=int(max(part.longest().max() for part in chunks)),
            **{"source_vocabulary": size, "target_vocabulary": size, "joint": True},
            **{"pad": PAD, "bos": BOS, "eos": EOS, "sep": SEP},
            **{"labels": self.labels, "multilabel": self.labelling.multilabel, **self.form},
            most=int(max(part.counts.max() for part in chunks)),
        )

    def train_dataloader(self) -> DataLoader:
        rows = self._training_rows()
        if self.trainer and self.trainer.overfit_batches:  # the same batches in every epoch
            return self.evaluation(rows, self.batch_tokens)
        close_finished_epoch(self.trainer)
        sizes = (rows.lengths, self.batch_tokens, self.bucket, self.seed)
        batches = ChunkBatches(*sizes, **share_of_training(self.trainer))
        return training_loader(rows, batches, self.workers)

    def val_dataloader(self) -> DataLoader:
        val = self._prepared["val"]
        return self.evaluation(DocumentRows(val.chunks, val.targets))

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Says once how long the first training batch took to come."""
        if self._began is not None and self.trainer and self.trainer.training:
            log.info("first training batch %.1f s after the reading began", time.monotonic() - self._began)
            self._began = None
        return batch

    def tests_alone(self, path: str) -> DocumentTests:
        """Other test sets, read as `restore` says; a UserError where there are none."""
        self._check()
        found = self.labelling.one_each(read_tests(replace(self.origin, path=path)))
        kept = {name: self.labelling.settle(name, documents, self.labels) for name, documents in found.items()}
        return DocumentTests(self, self._prepare(kept))

    def documents_of(self, texts: list[str], questions: list[str] | None = None) -> tuple[DataLoader, list[list[Span]]]:
        """Batches of texts without labels, and the characters of each chunk of each text. Needs a tokenizer alone.

        Raises UserError where questions are missing, not wanted, or too long.
        """
        if (questions is None) == bool(self.origin.columns.question):
            asked = "with questions: give one with each text" if questions is None else "without questions: give none"
            raise UserError(f"This run was trained on documents {asked}.")
        ids = encode_questions(self.tokenizer, questions or [None] * len(texts))
        why = [f"text {number + 1}: {reason}" for number, of in enumerate(ids) if (reason := self.reading.why_not(of))]
        if why:
            raise UserError(f"{why[0]}; shorten it.")
        chunks = self.reading.chunks(in_memory(texts, self.tokenizer), range(len(texts)), ids)
        self.reading.report_cuts("input", chunks)
        return self.evaluation(DocumentRows(chunks, None)), [chunks.characters(n) for n in range(len(chunks))]

    def _read(self) -> dict[str, Documents]:
        given = self.labelling.one_each(read_splits(self.origin))
        found = keep_apart(given, self.on_duplicate)
        check_filled(given, found, self.origin.columns.group)
        for name, documents in found.items():
            report_repeats(name, documents)
        self.labels = self.labels or self.labelling.choose(found["train"])
        return {name: self.labelling.settle(name, documents, self.labels) for name, documents in found.items()}

    def _prepare(self, found: dict[str, Documents]) -> dict[str, Prepared]:
        of, origin = self.labelling.multilabel, self.origin
        prepare = Preparation(self.tokenizer, self.reading, self.labels, of, origin.on_bad_row, origin.cache)
        return {name: prepare(name, documents) for name, documents in found.items()}

    def _check(self) -> None:
        counts = {"train_chunks": self.train_chunks, "most_frequent": self.labelling.most_frequent}
        counts |= {"bucket": self.bucket, "layers": self.form["layers"]}
        for key, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"data.{key}={value} is no number of that: give 1 or more.")
        share = self.form["word_dropout"]
        if not 0 <= share < 1:
            raise UserError(f"data.word_dropout={share} is no share to leave out: give 0 or more, below 1.")
        self.reading.check()
        self.labelling.check()

    def _training_rows(self) -> DocumentRows:
        """Raises UserError where a single chunk, or a whole document, is more than a batch may be."""
        train = self._prepared["train"]
        longest = train.chunks.longest()
        if longest.max() > self.batch_tokens:
            where = train.documents.where(int(longest.argmax()))
            key = "longest" if self.reading.read == "whole" else "chunk"
            raise UserError(
                f"{where} alone has {longest.max():,} tokens in one row, more than data.batch_tokens="
                f"{self.batch_tokens}; raise that, or lower data.{key}."
            )
        held = max(1, self.batch_tokens // int(longest.max()))
        return DocumentRows(train.chunks, train.targets, min(self.train_chunks or held, held), self.seed)
