"""Rows with named columns, left on disk: CSV, TSV, JSON lines, Parquet, the hub, folders of text files.

A column is read when its values are asked for, one after the other, so a text that was used may be forgotten.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from datasets import Dataset, load_dataset

from manyheads.data.lines import read_bytes, split_lines
from manyheads.data.tables import DIALECTS, first_line, kind, lines_of_rows, load_rows
from manyheads.errors import UserError

BLOCK = 1 << 20


class Table:
    """columns: name -> values of all rows. file: where they came from, for messages.

    lines: gives the line of each row in its file, where that is more than counting. damaged: bytes that are not UTF-8
    were found, and stand as U+FFFD in the texts.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence],
        file: str,
        lines: Callable[[], list[int]] | None = None,
        damaged: bool = False,
    ):
        self.columns, self.file, self.damaged = columns, file, damaged
        self._lines, self._counted = lines, None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def column(self, key: str, name: str) -> Sequence:
        """The column that `data.<key>=<name>` asks for; a UserError names those that there are."""
        if name not in self.columns:
            raise UserError(f"{self.file} has no column for data.{key}={name}; it has {', '.join(self.columns)}.")
        return self.columns[name]

    def place(self, row: int) -> str:
        """`notes.csv:17`, or `notes.parquet row 17` where a file has no lines."""
        if self._lines is not None and self._counted is None:
            self._counted = self._lines()
        if self._counted is not None and row < len(self._counted):
            return f"{self.file}:{self._counted[row]}"
        return f"{self.file} row {row + 1}"


def open_table(path: Path, cache: str) -> Table:
    """One file, plain or .gz. Raises UserError where it cannot be read."""
    suffix = kind(path)
    damaged = suffix != ".parquet" and not _is_utf8(path)
    try:
        rows = load_rows(path, suffix, f"{cache}/datasets")
    except UserError as problem:
        raise UserError(_why(path, suffix) or str(problem)) from problem
    # A .json may be one list over any number of lines.
    lines = None if suffix in (".parquet", ".json") else lambda: lines_of_rows(path, suffix)
    return Table(_columns(rows), str(path), lines, damaged)


def open_hub(hub: str, cache: str) -> dict[str, Table]:
    """Split -> rows of a data set of the hub, `owner/name` or `owner/name:configuration`."""
    name, _, configuration = hub.partition(":")
    try:
        splits = load_dataset(name, configuration or None, cache_dir=f"{cache}/datasets")
    except Exception as error:  # the hub's errors are of dozens of classes, of several libraries
        raise UserError(
            f"data.hub={hub} could not be loaded ({first_line(error)}); check the name and the connection, "
            "or bring the documents as files with data.path=."
        ) from error
    return {split: Table(_columns(rows), f"{hub} ({split})") for split, rows in splits.items()}


def table_of(rows: list[dict], file: str) -> Table:
    """Rows that are in memory, all with the keys of the first."""
    return Table({name: [row[name] for row in rows] for name in (rows[0] if rows else ())}, file)


def text_files(files: Sequence[tuple[Path, str]], folder: Path) -> Table:
    """Files and their labels as rows, with the columns `text`, `label` and `name`."""
    names = [str(path.relative_to(folder)) for path, _ in files]
    columns = {"text": FileTexts([path for path, _ in files]), "label": [label for _, label in files], "name": names}
    return TextFiles(columns, str(folder))


class TextFiles(Table):
    """A folder's text files; what is not UTF-8 is found as it is read."""

    def place(self, row: int) -> str:
        return f"{self.file}/{self.columns['name'][row]}"


class FileTexts(Sequence):
    """The content of text files, each read when it is asked for. A file that is not UTF-8 is None."""

    def __init__(self, files: Sequence[Path]):
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> str | None:
        try:
            return read_bytes(self._files[row]).decode()
        except UnicodeDecodeError:
            return None


def _columns(rows: Dataset) -> dict[str, Sequence]:
    return {name: rows[name] for name in rows.column_names}


def _why(path: Path, suffix: str) -> str | None:
    """What the reader could have said, where it is plain."""
    if suffix == ".parquet":
        return None
    if next(_blocks(path), b"")[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return f"{path} is UTF-16; save it as UTF-8."
    lines = [(number, line) for number, line in enumerate(split_lines(read_bytes(path)), 1) if line.strip()]
    if len(lines) <= (suffix in DIALECTS):
        return f"{path} has no rows."
    faults = (fault for number, line in lines if suffix == ".jsonl" and (fault := _no_json(number, line)))
    return next((f"{path}:{fault}; each line has to hold one row." for fault in faults), None)


def _no_json(number: int, line: bytes) -> str | None:
    try:
        row = json.loads(line.decode(errors="replace"))
        return None if isinstance(row, dict) else f"{number} is no row with named values"
    except ValueError as problem:
        return f"{number} is no JSON ({problem})"


def _is_utf8(path: Path) -> bool:
    """Without holding the file: block after block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(path):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no whole gzip file ({error}); copy it again, or unpack it.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return True


def _blocks(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
