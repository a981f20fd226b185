"""Sentence pairs as a file gave them, and what becomes of the broken ones.

A reader hands over `Raw`: everything that it found, also what cannot be used. `sift` makes a `datasets.Dataset` of it,
in which every row has two sides, or refuses with the place of the first row that has not.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from datasets import Dataset, DatasetInfo

from manyheads.errors import UserError

log = logging.getLogger(__name__)

SIDES = ("source", "target")
EXAMPLES = 3  # broken rows named in a message: enough to see a pattern, few enough to read


@dataclass(frozen=True)
class Raw:
    """Two sides, row by row.

    sides: source and target, equally long; anything that is not a `str` is broken.
    files: the name of the file of each side, for messages.
    places: called only for a message, gives the place of every row in its file (line, or row, from 1).
    unit: `:` where places are lines (`train.en:17`), ` row ` where a file has no lines.
    unreadable: (side, row) -> why that cell could not be read, where the reader knows better.
    """

    sides: tuple[list, list]
    files: tuple[str, str]
    places: Callable[[], list[int]] | None = None
    unit: str = ":"
    unreadable: dict[tuple[int, int], str] = field(default_factory=dict)


def sift(raw: Raw, on_bad_row: str) -> Dataset:
    """Columns `source`, `target` (never empty) and `place` (line or row in the file, from 1), in the file's order.

    Raises UserError at a broken row, unless `on_bad_row` is `skip`.
    """
    problems = _problems(raw)
    places = raw.places() if raw.places and problems else list(range(1, len(raw.sides[0]) + 1))
    named = [_name(raw, side, places[row], what) for row, (side, what) in problems.items()]
    settle(named, len(places), on_bad_row)
    good = [row for row in range(len(places)) if row not in problems]
    columns = {name: [values[row] for row in good] for name, values in zip(SIDES, raw.sides, strict=True)}
    return rows_of(columns | {"place": [places[row] for row in good]}, raw.files, raw.unit)


def rows_of(columns: dict[str, list], files: tuple[str, str], unit: str) -> Dataset:
    """A Dataset that remembers the files it came from, for `where`."""
    return Dataset.from_dict(columns, info=DatasetInfo(description="\n".join((*files, unit))))


def where(rows: Dataset, row: int, side: str = "source") -> str:
    """The place of a row in the user's own file, such as `train.en:17`."""
    *files, unit = rows.info.description.split("\n")
    return f"{files[SIDES.index(side)]}{unit}{rows[row]['place']}"


def settle(problems: list[str], rows: int, on_bad_row: str) -> None:
    """Refuse named rows, or say which ones are left out.

    Raises UserError where there are problems and `on_bad_row` is not `skip`.
    """
    if not problems:
        return
    if on_bad_row != "skip":
        count = "the only such row" if len(problems) == 1 else f"the first of {len(problems):,} such rows"
        raise UserError(f"{problems[0]} ({count}); mend it, or leave such rows out with data.on_bad_row=skip.")
    named = "; ".join(problems[:EXAMPLES]) + ("; …" if len(problems) > EXAMPLES else "")
    log.warning("%s of %s rows kept, left out: %s", f"{rows - len(problems):,}", f"{rows:,}", named)


def _problems(raw: Raw) -> dict[int, tuple[int, str]]:
    """Row -> (side, what is wrong with it), the source's fault first."""
    found: dict[int, tuple[int, str]] = {}
    for side, values in enumerate(raw.sides):
        for row, value in enumerate(values):
            what = raw.unreadable.get((side, row)) or _fault(value)
            if what:
                found.setdefault(row, (side, what))
    return dict(sorted(found.items()))


def _fault(value: object) -> str | None:
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return f"is no text but {type(value).__name__}"
    return None if value.strip() else "is empty"


def _name(raw: Raw, side: int, place: int, what: str) -> str:
    return f"{raw.files[side]}{raw.unit}{place}: the {SIDES[side]} {what}"
