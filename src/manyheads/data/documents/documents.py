"""Documents out of the rows of a table: text, question, labels, and where each came from.

A text stays where it was read; a document knows its row there, so that a report with three questions is held once.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from manyheads.data.documents.table import Table, TextFiles
from manyheads.data.pairs import settle
from manyheads.errors import UserError

BETWEEN = " | "  # parts of a question that is made of several columns


@dataclass(frozen=True)
class Columns:
    """Names of columns; keys as in conf/data/clinical_long.yaml. key: the one that documents and questions share."""

    text: str
    label: str
    question: tuple[str, ...]
    split: str | None
    group: str | None
    name: str | None
    key: str | None
    separator: str
    multilabel: bool


@dataclass(frozen=True)
class Documents:
    """One entry per document in each field, but `texts` and `place`, which are asked by a row's number.

    rows: where a document's text is in `texts`. digests: sha256 of the texts. labels: one, or any number.
    groups: those of a patient, say; the same group stays on one side of a split. splits: as a column gives them.
    numbers: its row in the file that `place` names.
    """

    texts: Sequence[str]
    place: Callable[[int], str]
    rows: list[int]
    digests: list[bytes]
    questions: list[str | None]
    labels: list[tuple[str, ...]]
    groups: list[str | None]
    splits: list[str | None]
    names: list[str]
    numbers: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, document: int) -> str:
        """The place of a document in the user's own file, such as `notes.csv:17`."""
        return self.place(self.numbers[document])

    def text(self, document: int) -> str:
        return self.texts[self.rows[document]]

    def take(self, kept: Sequence[int]) -> "Documents":
        """These documents, in this order."""
        lists = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {name: [values[i] for i in kept] for name, values in lists.items() if name not in ("texts", "place")}
        return replace(self, **parts)


def gather(table: Table, columns: Columns, on_bad_row: str, questions: Table | None = None) -> Documents:
    """Every usable row of a table, or of a table of questions about the documents of `table`.

    Raises UserError at a row without text, label or question, unless `on_bad_row` is `skip`.
    """
    asked = table if questions is None else questions
    texts = table.column("text", columns.text)
    digests, faults = _read(table, texts)
    places = _places(table, columns, questions)
    rows, problems = [], []
    for number, (place, values) in enumerate(zip(places, _values(asked, table, columns), strict=True)):
        row, fault = place, None
        if row is None:
            fault = f"{columns.key}={asked.columns[columns.key][number]} is in no row of {table.file}"
        fault = fault or faults.get(row) or _fault(values, columns)
        if fault:
            problems.append(f"{asked.place(number)}: {fault}")
        else:
            rows.append((row, number, values))
    settle(problems, len(asked), on_bad_row)
    return _documents(texts, asked, digests, rows)


@dataclass(frozen=True)
class _Values:
    labels: tuple[str, ...] | None
    question: str | None
    split: str | None
    group: str | None
    name: str | None


def _documents(
    texts: Sequence[str], asked: Table, digests: list[bytes], rows: list[tuple[int, int, _Values]]
) -> Documents:
    return Documents(
        texts=texts,
        place=asked.place,
        rows=[row for row, _, _ in rows],
        digests=[digests[row] for row, _, _ in rows],
        questions=[values.question for _, _, values in rows],
        labels=[values.labels for _, _, values in rows],
        groups=[values.group for _, _, values in rows],
        splits=[values.split for _, _, values in rows],
        names=[values.name or f"{Path(asked.file).name} row {number + 1}" for _, number, values in rows],
        numbers=[number for _, number, _ in rows],
    )


def _read(table: Table, texts: Sequence[str]) -> tuple[list[bytes], dict[int, str]]:
    """A digest of each text, and what is wrong with some."""
    digests, faults = [], {}
    for row, text in enumerate(texts):
        what = _text_fault(text, table)
        digests.append(b"" if what else hashlib.sha256(text.encode()).digest())
        if what:
            faults[row] = f"the text {what}"
    return digests, faults


def _text_fault(text: Any, table: Table) -> str | None:
    if text is None:
        return "is not UTF-8" if isinstance(table, TextFiles) else "is missing"
    if not isinstance(text, str):
        return f"is no text but {type(text).__name__}"
    if table.damaged and "\ufffd" in text:  # what a byte that is not UTF-8 was read as
        return "is not UTF-8"
    return None if text.strip() else "is empty"


def _places(table: Table, columns: Columns, questions: Table | None) -> Iterator[int | None]:
    """For each row that asks: the row of its text."""
    if questions is None:
        yield from range(len(table))
        return
    known: dict[str, int] = {}
    for row, key in enumerate(table.column("key", columns.key)):
        if str(key) in known:
            raise UserError(
                f"{table.place(row)}: {columns.key}={key} is there twice (before: {table.place(known[str(key)])}); "
                "data.key has to name one document each."
            )
        known[str(key)] = row
    for key in questions.column("key", columns.key):
        yield known.get(str(key))


def _values(asked: Table, table: Table, columns: Columns) -> Iterator[_Values]:
    labels = asked.column("label", columns.label)
    questions = [list(asked.column("question", name)) for name in columns.question]
    optional = [_optional(asked, table, columns, key) for key in ("split", "group", "name")]
    for number, label in enumerate(labels):
        question = BETWEEN.join(str(part[number] or "").strip() for part in questions) if questions else None
        rest = [_plain(values[number]) if values is not None else None for values in optional]
        yield _Values(_labels(label, columns), question, *rest)


def _optional(asked: Table, table: Table, columns: Columns, key: str) -> Sequence | None:
    """A column of the rows that ask, or else of the documents they ask about."""
    name = getattr(columns, key)
    if name is None:
        return None
    if name in asked.columns or asked is table:
        return list(asked.column(key, name))
    column = list(table.column(key, name))
    return [column[row] if row is not None else None for row in _places(table, columns, asked)]


def _labels(value: Any, columns: Columns) -> tuple[str, ...] | None:
    """The labels of one cell, without order or repetition; None where there is none at all."""
    if value is None:
        return None
    if isinstance(value, str) and columns.multilabel and columns.separator:
        value = value.split(columns.separator)
    parts = value if isinstance(value, list | tuple) else [value]
    named = {plain for part in parts if (plain := _plain(part))}
    return tuple(sorted(named)) if named or (isinstance(value, list | tuple) and not parts) else None


def _plain(value: Any) -> str | None:
    """2.0 is 2: a column of whole numbers with a gap is read as one of fractions."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _fault(values: _Values, columns: Columns) -> str | None:
    if values.labels is None:
        return f"it has no label in column {columns.label}"
    if len(values.labels) != 1 and not columns.multilabel:
        count = len(values.labels)
        return f"it has {count} labels in column {columns.label} (data.multilabel=true takes any number)"
    if values.question is not None and not values.question.replace(BETWEEN.strip(), "").strip():
        return f"the question is empty (column {', '.join(columns.question)})"
    return None
