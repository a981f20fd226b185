"""Rows of tables and of data sets of the hub, streamed by `datasets`: nothing of them is copied or held in memory."""

import codecs
import csv
import gzip
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from datasets import Features, IterableDataset, Value, load_dataset

from manyheads.data.stream.files import opened, whole
from manyheads.data.stream.source import Blocks, Faults, Source
from manyheads.data.tables import BUILDERS, DIALECTS, first_line, kind
from manyheads.errors import UserError

ROWS = 1_000  # taken from `datasets` at once
BLOCK = 1 << 22  # bytes
DAMAGED = "\ufffd"


class Rows(Source):
    """The texts of one column, each a document."""

    text: str
    size = None
    damaged = False  # whether U+FFFD stands for a byte that is not UTF-8

    def documents(self, faults: Faults) -> Iterator[Blocks]:
        for number, value in enumerate(self._values(), 1):
            what = fault(value, self.damaged)
            if what:
                faults.add(f"{self.place} row {number}: the text {what}")
            else:
                yield [value]

    def _values(self) -> Iterator[object]:
        rows = self._open()
        if self.text not in (rows.column_names or []):
            columns = ", ".join(rows.column_names or []) or "none"
            raise UserError(f"{self.place} has no column for data.text={self.text}; it has {columns}.")
        try:
            for batch in rows.select_columns([self.text]).iter(batch_size=ROWS):
                yield from batch[self.text]
        except Exception as error:  # the readers' errors are of dozens of classes, of several libraries
            raise UserError(f"{self.place} cannot be read: {first_line(error.__cause__ or error)}.") from error

    @abstractmethod
    def _open(self) -> IterableDataset:
        """All columns, row by row."""


@dataclass(frozen=True)
class TableFile(Rows):
    """CSV, TSV, JSON lines or Parquet, plain or .gz."""

    path: Path
    text: str

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def digest(self) -> str:
        return sha256(repr((self._survey[0], kind(self.path), self.text)).encode()).hexdigest()

    @property
    def damaged(self) -> bool:
        return self._survey[1]

    @cached_property
    def _survey(self) -> tuple[str, bool]:
        return survey(self.path)

    def _open(self) -> IterableDataset:
        suffix = kind(self.path)
        try:
            rows = load_dataset(
                BUILDERS[suffix], data_files=str(self.path), split="train", streaming=True, **options(self.path, suffix)
            )
            return rows if rows.column_names else rows._resolve_features()
        except UserError:
            raise
        except Exception as error:
            what = first_line(error.__cause__ or error)
            raise UserError(f"{self.path} cannot be read as {suffix[1:]}: {what}.") from error


def survey(path: Path) -> tuple[str, bool]:
    """A digest of a file's content, and whether it is text that is not UTF-8."""
    digest, decoder, damaged = sha256(), codecs.getincrementaldecoder("utf-8")(), False
    with whole(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if kind(path) != ".parquet" and not damaged:
                damaged = not decodes(decoder, block)
    return digest.hexdigest(), damaged


def decodes(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def options(path: Path, suffix: str) -> dict:
    """What makes `datasets` leave every text as it is; see data/tables.py."""
    if suffix in DIALECTS:
        text = Features({name: Value("string") for name in header(path, suffix)})
        return {"features": text, "keep_default_na": False, "encoding_errors": "replace"} | DIALECTS[suffix]
    return {} if suffix == ".parquet" else {"encoding": "utf8", "encoding_errors": "replace"}


def header(path: Path, suffix: str) -> list[str]:
    with opened(path, errors="replace") as file:
        found = next((row for row in csv.reader(file, **DIALECTS[suffix]) if row), None)
    if not found:
        raise UserError(f"{path} is empty; its first line has to name the columns.")
    return found


@dataclass(frozen=True)
class HubSplit(Rows):
    """One split of `owner/name` or `owner/name:configuration` as it stood at a commit of the hub's."""

    hub: str
    commit: str
    split: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.hub} ({self.split})"

    @property
    def digest(self) -> str:
        return sha256(repr((self.hub, self.commit, self.split, self.text)).encode()).hexdigest()

    def _open(self) -> IterableDataset:
        return load_hub(self.hub, self.commit)[self.split]


def hub_splits(hub: str, text: str) -> dict[str, HubSplit]:
    """Split -> its documents. Raises UserError where the hub cannot be reached or has no such data set."""
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(hub.partition(":")[0]).sha
    except Exception as error:
        raise unreachable(hub, error) from error
    return {split: HubSplit(hub, commit, split, text) for split in load_hub(hub, commit)}


def load_hub(hub: str, commit: str) -> dict[str, IterableDataset]:
    name, _, configuration = hub.partition(":")
    try:
        return load_dataset(name, configuration or None, revision=commit, streaming=True)
    except Exception as error:
        raise unreachable(hub, error) from error


def unreachable(hub: str, error: Exception) -> UserError:
    return UserError(
        f"data.hub={hub} could not be loaded ({first_line(error)}); check the name and the connection, or bring the "
        "texts as files with data.path=."
    )


def fault(value: object, damaged: bool) -> str | None:
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return f"is no text but {type(value).__name__}"
    if damaged and DAMAGED in value:
        return "is not UTF-8"
    return None if value.strip() else "is empty"
