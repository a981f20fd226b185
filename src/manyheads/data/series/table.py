"""A wide table: one row a time, one column a channel; what each column is, and numbers out of those that are asked for.

CSV, TSV or Parquet, plain or .gz. A row keeps the number of its line, so that a message can name it.
"""

import csv
import io
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from manyheads.data.lines import read_bytes
from manyheads.data.series.dates import find_date
from manyheads.errors import UserError

log = logging.getLogger(__name__)

SEPARATORS = {".csv": ",", ".tsv": "\t"}
MISSING = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "-nan", "null", "NULL", "None"]
KINDS = (*SEPARATORS, ".parquet")


@dataclass(frozen=True)
class Columns:
    """Names of columns. date: None is looked for, `none` is none. target: None is every number that is nothing else."""

    date: str | None
    id: tuple[str, ...]
    target: tuple[str, ...] | None
    known: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The index of `frame` is the line of a row in its file (from 2), or its number where a file has no lines."""

    file: str
    frame: pd.DataFrame
    unit: str

    def where(self, row: int) -> str:
        return f"{self.file}{self.unit}{self.frame.index[row]}"


def kind(path: Path) -> str | None:
    """The format by the name, such as `.csv` of a.csv.gz; None where it is no table."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in KINDS else None


def read_table(path: Path, ids: tuple[str, ...]) -> Table:
    """Columns `ids` are read as text. Raises UserError where the file is no table of named columns."""
    suffix = kind(path)
    if suffix == ".parquet":
        return _filled(Table(str(path), _read_parquet(path, ids), " row "))
    return _filled(Table(str(path), _read_text(path, SEPARATORS[suffix], ids), ":"))


def settle_columns(table: Table, asked: Columns) -> Columns:
    """The columns with nothing left to be looked for. Raises UserError for names that are not there, or there twice."""
    _refuse_unknown(table, asked)
    date = _date(table, asked)
    used = {date, *asked.id, *asked.known}
    rest = tuple(name for name in table.frame.columns if name not in used)
    if asked.target is None:
        _refuse_text(table, rest, "name the columns to forecast with data.target")
    target = rest if asked.target is None else asked.target
    if not target:
        raise UserError(f"{table.file} has no column of numbers to forecast; it has {_listed(table.frame.columns)}.")
    return replace(asked, date=date, target=target)


def _date(table: Table, asked: Columns) -> str | None:
    if asked.date is None:
        return find_date(table.frame, {*asked.id, *(asked.target or ()), *asked.known})
    return None if asked.date == "none" else asked.date


def numbers(table: Table, names: tuple[str, ...]) -> Float[np.ndarray, "t k"]:
    """float64, NaN where a cell is empty. Raises UserError for text, and for infinite numbers by line."""
    _refuse_text(table, names, "mend it, or leave the column out")
    values = table.frame[list(names)].to_numpy(np.float64, na_value=np.nan)
    rows, columns = np.nonzero(np.isinf(values))
    if len(rows):
        raise UserError(
            f"{table.where(rows[0])}: {names[columns[0]]} is infinite (the first of {len(rows):,} such values); "
            "leave such cells empty, then they count as missing."
        )
    return values


def _filled(table: Table) -> Table:
    if not len(table.frame):
        raise UserError(f"{table.file} has no rows.")
    return table


def _read_parquet(path: Path, ids: tuple[str, ...]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(read_bytes(path)))
    except UserError:
        raise
    except Exception as problem:  # the reader's errors are of many classes
        raise UserError(f"{path} cannot be read as Parquet: {str(problem).splitlines()[0].rstrip('.')}.") from problem
    # Numbers of rows that pandas keeps beside a table are no channel; dates without a name are dates.
    rows = frame.index.name is None and pd.api.types.is_numeric_dtype(frame.index)
    frame = frame.reset_index(drop=rows)
    frame.columns, frame.index = frame.columns.map(str), frame.index + 1
    return frame.astype({name: str for name in ids if name in frame})


def _read_text(path: Path, separator: str, ids: tuple[str, ...]) -> pd.DataFrame:
    text = _decoded(path)
    first = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=separator), [])]
    header = [name or f"column {number}" for number, name in enumerate(first, 1)]
    _refuse_header(path, header)
    # A blank line is kept until its row has its number. A series may be called NA.
    options = {"skip_blank_lines": False, "low_memory": False, "index_col": False, "keep_default_na": False}
    options["na_values"] = {name: MISSING for name in header if name not in ids}
    options["dtype"] = {name: str for name in ids}
    try:
        frame = pd.read_csv(io.StringIO(text), sep=separator, names=header, header=0, **options)
    except (ValueError, pd.errors.ParserError) as problem:
        raise UserError(f"{path} cannot be read as a table: {_reason(problem)}.") from problem
    frame.index = frame.index + 2
    return _without_blank_lines(_without_nameless(path, frame, first), ids)


def _without_nameless(path: Path, frame: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """Row numbers, which pandas writes without a name, are no channel; dates without a name are dates."""
    nameless = [frame.columns[place] for place, name in enumerate(first) if not name]
    numbers = [name for name in nameless if pd.api.types.is_numeric_dtype(frame[name])]
    if numbers:
        log.warning("%s:1 gives no name to %s, which is left out.", path, _listed(numbers))
    return frame.drop(columns=numbers)


def _decoded(path: Path) -> str:
    data = read_bytes(path)
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise UserError(f"{path}:{line} is not UTF-8; convert the file first.") from problem


def _without_blank_lines(frame: pd.DataFrame, ids: tuple[str, ...]) -> pd.DataFrame:
    """A row without a date is no row; where all columns are numbers, an empty one inside is a missing value."""
    texts = [name for name in ids if name in frame]
    empty = frame.drop(columns=texts).isna().all(axis=1) & (frame[texts] == "").all(axis=1)
    if frame.shape[1] > 1 and (texts or not all(map(pd.api.types.is_numeric_dtype, frame.dtypes))):
        return frame[~empty]
    last = np.flatnonzero(~empty)
    return frame.iloc[: last[-1] + 1 if len(last) else 0]


def _refuse_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if not header:
        raise UserError(f"{path} is empty; its first line has to name the columns.")
    if all(map(_is_number, header)) and not all(name.isdigit() for name in header):
        raise UserError(f"{path}:1 is numbers, but the first line has to name the columns; put such a line first.")
    if twice:
        raise UserError(f"{path}:1 names {_listed(twice)} twice; give each column a name of its own.")
    if len(header) == 1 and ";" in header[0]:
        raise UserError(f"{path}:1 is cut at semicolons; cells have to be cut at commas (and decimals at points).")


def _refuse_unknown(table: Table, asked: Columns) -> None:
    date = () if asked.date in (None, "none") else (asked.date,)
    keys = {"date": date, "id": asked.id, "target": asked.target or (), "known": asked.known}
    for key, names in keys.items():
        missing = [name for name in names if name not in table.frame.columns]
        if missing:
            raise UserError(
                f"{table.file} has no column {_listed(missing)} (data.{key}); it has {_listed(table.frame.columns)}."
            )
    named = [name for names in keys.values() for name in names]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UserError(f"{_listed(twice)} is named twice among data.date, data.id, data.target and data.known.")


def _refuse_text(table: Table, names: tuple[str, ...], remedy: str) -> None:
    texts = [name for name in names if not pd.api.types.is_numeric_dtype(table.frame[name])]
    if not texts:
        return
    column = table.frame[texts[0]]
    wrong = np.flatnonzero(pd.to_numeric(column.astype(str), errors="coerce").isna() & column.notna())
    row = wrong[0] if len(wrong) else 0
    which = f"column {texts[0]} is text" if len(texts) == 1 else f"columns {_listed(texts)} are text"
    raise UserError(
        f"{table.where(row)}: {which}, such as {str(column.iloc[row])!r}, and only numbers can be forecast; "
        f"{remedy}, or list it in data.id if it names a series."
    )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _listed(names) -> str:
    return ", ".join(list(names)[:12]) + (", …" if len(names) > 12 else "")


def _reason(problem: Exception) -> str:
    return str(problem).splitlines()[0].removeprefix("Error tokenizing data. C error: ").rstrip(". ")
