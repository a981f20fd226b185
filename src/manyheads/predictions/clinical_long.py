"""For each document its label, how sure the model is, and which chunks spoke for it: one line of JSON each."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manyheads.analysis.page import Pass
from manyheads.data.documents.documents import BETWEEN
from manyheads.data.documents.table import Table, open_table, text_files
from manyheads.data.tables import BUILDERS, kind
from manyheads.errors import UserError
from manyheads.load import Loaded
from manyheads.predictions.asked import Predict
from manyheads.task.classification import verdicts
from manyheads.task.document_lines import line
from manyheads.task.document_scores import probabilities

CHUNKS = 4
"""Of a document, whose attention is shown."""


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    table, columns = _open(Path(asked.input), run), run.data.origin.columns
    names, texts, questions = _documents(table, columns)
    loader, spans = run.data.documents_of(texts, questions)
    device, found = next(run.model.parameters()).device, {}
    for batch in loader:
        with torch.inference_mode():
            found |= verdicts(batch, run.model(batch.to(device)))
    labels, several = run.spec.labels, run.spec.multilabel
    for document, name in enumerate(names):
        odds = probabilities(found[document].logits, several).numpy()
        said = line(labels, odds, several, found[document].chunks, spans[document])
        yield json.dumps({"name": name, **said}, ensure_ascii=False)


def passes(asked: Predict, run: Loaded) -> Iterator[Pass]:
    """The chunks of each document; read whole, it is one."""
    table, columns = _open(Path(asked.input), run), run.data.origin.columns
    device = next(run.model.parameters()).device
    names, texts, questions = _documents(table, columns)
    for number, name in enumerate(names):
        question = None if questions is None else [questions[number]]
        (batch,) = run.data.documents_of([texts[number]], question)[0]
        chunks = range(min(CHUNKS, len(batch.ids)))
        titles = [name] if len(batch.ids) == 1 else [f"{name}, chunk {place + 1}" for place in chunks]
        yield Pass(titles, partial(run.model, batch.to(device)))


def _open(path: Path, run: Loaded) -> Table:
    """A table with the columns of the run's own, a folder of text files, or one such file."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if _is_text(file)]
        if not files:
            raise UserError(f"input={path} is a folder without .txt files.")
        return text_files([(file, "") for file in files], path)
    if not path.is_file():
        raise UserError(f"input={path}: there is no such file or folder.")
    if _is_text(path):
        return text_files([(path, "")], path.parent)
    if not kind(path):
        raise UserError(f"input={path} is neither a table ({', '.join(BUILDERS)}) nor a .txt file, plain or .gz.")
    return open_table(path, run.data.origin.cache)


def _is_text(file: Path) -> bool:
    return file.name.removesuffix(".gz").endswith(".txt")


def _documents(table: Table, columns: Any) -> tuple[list[str], list[str], list[str] | None]:
    key = columns.text if columns.text in table.columns else "text"
    texts = list(table.column("text", key))
    empty = [row for row, text in enumerate(texts) if not isinstance(text, str) or not text.strip()]
    if empty:
        raise UserError(f"{table.place(empty[0])}: the text is missing or empty; leave such rows out.")
    named = next((table.columns[name] for name in (columns.name, "name") if name in table.columns), None)
    names = [table.place(row) if named is None else str(named[row]) for row in range(len(texts))]
    if not columns.question:
        return names, texts, None
    parts = zip(*(table.column("question", name) for name in columns.question), strict=True)
    return names, texts, [BETWEEN.join(str(part or "").strip() for part in row) for row in parts]
