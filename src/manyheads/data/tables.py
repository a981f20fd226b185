"""Tables with a named column for each side: CSV, TSV, JSON lines, Parquet, and data sets of the Hugging Face hub.

All of them are read by `datasets.load_dataset`, told to leave every text as it is: by default its CSV reader turns the
sentences `None`, `NA` and `null` into nothing, and `007` into 7.
"""

import csv
import io
from pathlib import Path

import datasets
from datasets import Dataset, Features, Value, load_dataset

from manyheads.data.lines import read_bytes, split_lines
from manyheads.data.pairs import SIDES, Raw
from manyheads.errors import UserError

BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
# A .tsv has no quoting: quotation marks in it are the sentence's own, and one left open would swallow lines.
DIALECTS = {".csv": {"delimiter": ","}, ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE}}


def kind(path: Path) -> str | None:
    """The format by the name, such as `.csv` of train.csv.gz; None where it is no table."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in BUILDERS else None


def stem(path: Path) -> str:
    """`test_2016` of test_2016.csv.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def read_table(path: Path, names: tuple[str, str]) -> Raw:
    """The two named columns of one file. Raises UserError where it is no such table or lacks a column."""
    suffix = kind(path)
    damaged = suffix != ".parquet" and _not_utf8(path)
    rows = load_rows(path, suffix)
    places = None if suffix == ".parquet" else lambda: lines_of_rows(path, suffix)
    unit = " row " if suffix == ".parquet" else ":"
    sides = columns(rows, names, str(path))
    unreadable = {
        (side, row): "is not UTF-8"
        for side, values in enumerate(sides if damaged else ())
        for row, value in enumerate(values)
        if isinstance(value, str) and "\ufffd" in value  # what a byte that is not UTF-8 was read as
    }
    return Raw(sides, (str(path), str(path)), places, unit, unreadable)


def read_hub(hub: str, names: tuple[str, str]) -> dict[str, Raw]:
    """Split -> its pairs, of a data set of the hub, `owner/name` or `owner/name:configuration`.

    Raises UserError where the hub cannot be reached or has no such data set.
    """
    name, _, configuration = hub.partition(":")
    try:
        splits = load_dataset(name, configuration or None)
    except Exception as error:  # the hub's errors are of dozens of classes, of several libraries
        raise UserError(
            f"data.hub={hub} could not be loaded ({first_line(error)}); check the name and the connection, "
            "or bring the pairs as files with data.path=."
        ) from error
    files = {split: f"{hub} ({split})" for split in splits}
    return {split: Raw(columns(rows, names, hub), (files[split],) * 2, unit=" row ") for split, rows in splits.items()}


def columns(rows: Dataset, names: tuple[str, str], place: str) -> tuple[list, list]:
    """The two columns, also where they are the two keys of one nested column, `{"translation": {"en": …, "de": …}}`.

    Raises UserError with the columns that there are.
    """
    for outer, feature in rows.features.items():
        if isinstance(feature, dict) and all(name in feature for name in names):
            nested = [value or {} for value in rows[outer]]
            return tuple([value.get(name) for value in nested] for name in names)
    keys = [f"data.{key}={name}" for key, name in zip(SIDES, names, strict=True) if name not in rows.features]
    if keys:
        raise UserError(f"{place} has no column for {' and '.join(keys)}; it has {', '.join(rows.features)}.")
    return tuple(list(rows[name]) for name in names)


def load_rows(path: Path, suffix: str, cache: str | None = None) -> Dataset:
    """All columns of one file, left on disk in the Arrow files that `datasets` makes of it, in the folder `cache`.

    Raises UserError where it cannot be read as such a table.
    """
    shown, loud = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it says what it raises
    try:
        return load_dataset(
            BUILDERS[suffix], data_files=str(path), split="train", cache_dir=cache, **_options(path, suffix)
        )
    except Exception as error:  # the readers' errors are of dozens of classes, of several libraries
        raise UserError(f"{path} cannot be read as {suffix[1:]}: {first_line(error.__cause__ or error)}.") from error
    finally:
        datasets.logging.set_verbosity(loud)
        if shown:
            datasets.enable_progress_bars()


def _options(path: Path, suffix: str) -> dict:
    if suffix in DIALECTS:
        text = Features({name: Value("string") for name in _header(path, suffix)})
        return {"features": text, "keep_default_na": False, "encoding_errors": "replace"} | DIALECTS[suffix]
    # Spelt without its hyphen on purpose: only then does the reader heed encoding_errors.
    return {} if suffix == ".parquet" else {"encoding": "utf8", "encoding_errors": "replace"}


def _text(path: Path) -> io.StringIO:
    return io.StringIO(read_bytes(path).decode(errors="replace"), newline="")


def _rows(path: Path, suffix: str):
    csv.field_size_limit(2**31 - 1)  # a document may be longer than the 131,072 characters that csv allows
    return csv.reader(_text(path), delimiter=DIALECTS[suffix]["delimiter"], quoting=DIALECTS[suffix].get("quoting", 0))


def _header(path: Path, suffix: str) -> list[str]:
    header = next((row for row in _rows(path, suffix) if row), None)
    if not header:
        raise UserError(f"{path} is empty; its first line has to name the columns.")
    return header


def lines_of_rows(path: Path, suffix: str) -> list[int]:
    """The line on which each row begins: a quoted field may hold line ends, and blank lines are no rows."""
    if suffix not in DIALECTS:
        return [number for number, line in enumerate(split_lines(read_bytes(path)), 1) if line.strip()]
    begins, number, reader = [], 1, _rows(path, suffix)
    for row in reader:
        if row:
            begins.append(number)
        number = reader.line_num + 1
    return begins[1:]


def _not_utf8(path: Path) -> bool:
    try:
        read_bytes(path).decode()
    except UnicodeDecodeError:
        return True
    return False


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
