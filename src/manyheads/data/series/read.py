"""From a file or a folder to series on an even grid of time.

A long table is grouped by its id columns; of a folder every table is read, and a file without ids is one series. Rows
that a series lacks on its grid are put in as missing values, and said.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from manyheads.data.series.dates import parse_dates, shown
from manyheads.data.series.step import Dates, Step, infer
from manyheads.data.series.table import KINDS, Columns, Table, kind, numbers, read_table, settle_columns
from manyheads.errors import UserError

log = logging.getLogger(__name__)

SPREAD = 20  # rows of a grid for each row of the file: more than that is no series with gaps, but dates without a grid


@dataclass(frozen=True)
class Series:
    """values, known: float64, NaN where missing. dates: of every row, None where the file has none."""

    name: str
    file: str
    values: Float[np.ndarray, "t c"]
    known: Float[np.ndarray, "t k"]
    dates: Dates | None

    def __len__(self) -> int:
        return len(self.values)

    def place(self, row: int) -> str:
        """How a message names a row."""
        when = f"row {row + 1}" if self.dates is None else shown(self.dates[row])
        return f"{self.file}, series {self.name}, {when}"


@dataclass(frozen=True)
class Panel:
    """One or more series of the same columns and the same step (None where there are no dates)."""

    series: list[Series]
    step: Step | None
    channels: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """The rows of one series as the file has them."""

    name: str
    table: Table
    rows: np.ndarray
    values: np.ndarray
    known: np.ndarray
    dates: Dates | None


def read_panel(path: Path, asked: Columns, step: Step | None) -> Panel:
    """`step` is that of a finished run, which the file has to share; None: it is told from the dates.

    Raises UserError with file, line, column and what to do.
    """
    pieces: list[_Piece] = []
    columns = asked
    for file in _files(path):
        table = read_table(file, asked.id)
        settled = settle_columns(table, columns)
        # The first file settles what the others have to have.
        columns = Columns(asked.date, asked.id, settled.target, asked.known)
        pieces += _pieces(table, settled)
    _refuse_namesakes(pieces)
    step = _common_step(pieces, step)
    series = [_on_grid(piece, step) for piece in pieces]
    _report_gaps(path, pieces, series)
    return Panel(series, step, columns.target, asked.known)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if not kind(path):
            raise UserError(f"data.path={path} is no table: a file of series ends in {', '.join(KINDS)} (or .gz).")
        return [path]
    if not path.is_dir():
        raise UserError(f"data.path={path}: there is no such file or folder.")
    files = sorted(file for file in path.iterdir() if file.is_file() and kind(file))
    if not files:
        raise UserError(f"data.path={path} holds no table: files that end in {', '.join(KINDS)} (or .gz).")
    return files


def _pieces(table: Table, columns: Columns) -> Iterator[_Piece]:
    dates = None if columns.date is None else parse_dates(table, columns.date)
    values, known = numbers(table, columns.target), numbers(table, columns.known)
    for name, rows in _groups(table, columns.id):
        own = None if dates is None else dates[rows]
        piece = _Piece(name, table, rows, values[rows], known[rows], own)
        if own is not None:
            _refuse_disorder(piece)
        yield piece


def _groups(table: Table, ids: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Series in order of appearance, each with its rows."""
    if not ids:
        yield Path(table.file.removesuffix(".gz")).stem, np.arange(len(table.frame))
        return
    keys = table.frame[list(ids)]
    empty = np.flatnonzero((keys.isna() | (keys == "")).any(axis=1))
    if len(empty):
        raise UserError(f"{table.where(empty[0])} names no series: a cell of {', '.join(ids)} is empty; fill it in.")
    for key, rows in keys.groupby(list(ids), sort=False).indices.items():
        yield "/".join(map(str, key if isinstance(key, tuple) else (key,))), np.sort(rows)


def _refuse_disorder(piece: _Piece) -> None:
    back = np.flatnonzero(np.diff(piece.dates).astype(np.int64) <= 0)
    if not len(back):
        return
    row = back[0] + 1
    same = piece.dates[row] == piece.dates[row - 1]
    what = "the same time as the row before it" if same else f"earlier than {shown(piece.dates[row - 1])} before it"
    raise UserError(
        f"{piece.table.where(piece.rows[row])}: {shown(piece.dates[row])} is {what}; rows have to follow each other in "
        "time, so sort them and keep one a time, or name the columns that tell several series apart with data.id."
    )


def _refuse_namesakes(pieces: list[_Piece]) -> None:
    files: dict[str, str] = {}
    for piece in pieces:
        other = files.setdefault(piece.name, piece.table.file)
        if other != piece.table.file:
            raise UserError(f"{other} and {piece.table.file} both hold a series {piece.name}; give one another name.")


def _common_step(pieces: list[_Piece], step: Step | None) -> Step | None:
    dated = [piece.dates for piece in pieces if piece.dates is not None]
    if dated and len(dated) < len(pieces):
        bare = next(piece.table.file for piece in pieces if piece.dates is None)
        raise UserError(
            f"{bare} has no dates, but other files have; give all of them a column of dates, or data.date=none."
        )
    return step or infer(dated)


def _on_grid(piece: _Piece, step: Step | None) -> Series:
    """With a row for every step from the first date to the last."""
    if piece.dates is None or step is None:
        return Series(piece.name, piece.table.file, piece.values, piece.known, piece.dates)
    places = _places(piece, step)
    count = int(places[-1]) + 1
    values, known = (np.full((count, part.shape[1]), np.nan) for part in (piece.values, piece.known))
    values[places], known[places] = piece.values, piece.known
    return Series(piece.name, piece.table.file, values, known, step.dates(piece.dates[0], np.arange(count)))


def _places(piece: _Piece, step: Step) -> np.ndarray:
    places, fits = step.count(piece.dates)
    fits[1:] &= np.diff(places) > 0
    row = int(np.argmin(fits))
    if not fits[row]:
        raise UserError(
            f"{piece.table.where(piece.rows[row])}: {shown(piece.dates[row])} is no whole number of steps of {step} "
            f"after {shown(piece.dates[0])}, where the series begins; bring values at even distances."
        )
    if places[-1] + 1 > SPREAD * len(places):
        raise UserError(
            f"{piece.table.file}: series {piece.name} has {len(places):,} rows, but {places[-1] + 1:,} steps of {step} "
            "from its first date to its last; bring values at even distances."
        )
    return places


def _report_gaps(path: Path, pieces: list[_Piece], series: list[Series]) -> None:
    gaps = [(piece, one, len(one) - len(piece.values)) for piece, one in zip(pieces, series, strict=True)]
    gaps = [gap for gap in gaps if gap[2]]
    if not gaps:
        return
    piece, one, _ = gaps[0]
    first = np.flatnonzero(~np.isin(one.dates, piece.dates))[0]
    total = sum(count for _, _, count in gaps)
    log.warning(
        "%s lacks %s of %s rows in %s (the first is that of %s); they count as missing values.",
        path, f"{total:,}", f"{sum(map(len, series)):,}",
        f"series {one.name}" if len(gaps) == 1 else f"{len(gaps)} of {len(series)} series", shown(one.dates[first]),
    )  # fmt: skip
