"""A split that is ready to be read: its documents, their chunks, their answers."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from manyheads.data.documents.documents import Documents
from manyheads.data.documents.labels import targets
from manyheads.data.documents.reading import Reading
from manyheads.data.documents.rows import Chunks
from manyheads.data.documents.store import on_disk
from manyheads.data.documents.tokenizer import TextTokenizer, train_once
from manyheads.data.pairs import settle
from manyheads.errors import UserError


@dataclass(frozen=True)
class Prepared:
    """targets: (d,) classes, or (d, classes) of 0 and 1."""

    documents: Documents
    chunks: Chunks
    targets: np.ndarray


@dataclass(frozen=True)
class Preparation:
    """How documents become chunks and answers; on_bad_row, cache: keys as in conf/data/clinical_long.yaml."""

    tokenizer: TextTokenizer
    reading: Reading
    labels: tuple[str, ...]
    multilabel: bool
    on_bad_row: str
    cache: str

    def __call__(self, name: str, documents: Documents) -> Prepared:
        """Raises UserError at a question too long for a chunk, unless `on_bad_row` is skip."""
        documents, questions = self._questions(name, documents)
        rows, number = _distinct(documents)
        texts = (documents.texts[row] for row in rows.values())
        store = on_disk(texts, list(rows), self.tokenizer, self.cache)
        chunks = self.reading.chunks(store, number, questions)
        self.reading.report_cuts(name, chunks)
        return Prepared(documents, chunks, targets(documents, self.labels, self.multilabel))

    def _questions(self, name: str, documents: Documents) -> tuple[Documents, list[list[int] | None]]:
        """Questions as ids, and the documents whose question leaves room for the text."""
        ids = encode_questions(self.tokenizer, documents.questions)
        why = {row: reason for row, question in enumerate(ids) if (reason := self.reading.why_not(question))}
        settle([f"{documents.where(row)}: {reason}" for row, reason in why.items()], len(ids), self.on_bad_row)
        if len(why) == len(ids):
            raise UserError(f"No document is left for {name}: no question leaves room for a text; raise data.chunk.")
        kept = [row for row in range(len(ids)) if row not in why]
        return (documents.take(kept), [ids[row] for row in kept]) if why else (documents, ids)


def encode_questions(tokenizer: TextTokenizer, questions: Sequence[str | None]) -> list[list[int] | None]:
    """None where nothing is asked."""
    asked = [question for question in questions if question is not None]
    ids = iter(tokenizer.encode(asked))
    return [None if question is None else next(ids) for question in questions]


def train_tokenizer(documents: Documents, vocabulary: int, lowercase: bool, cache: str) -> TextTokenizer:
    """From every text of these documents once, and every question once."""
    rows, _ = _distinct(documents)
    questions = list(dict.fromkeys(question for question in documents.questions if question is not None))

    def texts() -> Iterable[str]:
        yield from (documents.texts[row] for row in rows.values())
        yield from questions

    content = [*rows, *(hashlib.sha256(question.encode()).digest() for question in questions)]
    return train_once(texts(), content, vocabulary, lowercase, cache)


def _distinct(documents: Documents) -> tuple[dict[bytes, int], list[int]]:
    """Digest -> row of each text that occurs, in order; and which of them each document has."""
    rows: dict[bytes, int] = {}
    for digest, row in zip(documents.digests, documents.rows, strict=True):
        rows.setdefault(digest, row)
    number = {digest: place for place, digest in enumerate(rows)}
    return rows, [number[digest] for digest in documents.digests]
