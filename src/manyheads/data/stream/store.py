"""Tokenised documents on disk: written once, in one pass that holds a few megabytes, and read through memory maps.

A store is known by the digest of everything that its ids depend on (the documents' content, how they are read, the
tokenizer), so a run with another model, another length of rows or another batch size finds it there.
"""

import json
import logging
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Int

from manyheads import atomic
from manyheads.data.stream.source import Blocks, Documents, Faults, warn
from manyheads.data.stream.tokenizer import StreamTokenizer
from manyheads.data.tokenizer import BOS, EOS

log = logging.getLogger(__name__)

VERSION = 1  # another number makes all stores anew
PIECE = 1 << 16  # characters encoded as one: few enough that a long document keeps all threads busy
BATCH = 1 << 22  # characters encoded at once
SECONDS = 5.0  # between two lines of progress

Piece = tuple[str, bool]
"""A piece of a document, and whether the document ends with it."""


class TokenStore:
    """⟨bos⟩ text ⟨eos⟩ of every document, one after another: `tokens` (all of them) and `ends` (documents,)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = json.loads((folder / "about.json").read_text("utf-8"))
        self._open()

    def _open(self) -> None:
        self.tokens: Int[np.ndarray, "t"] = self._map("tokens.bin", self.about["dtype"], self.about["tokens"])
        self.ends: Int[np.ndarray, "d"] = self._map("ends.bin", "int64", self.about["documents"])

    def _map(self, name: str, dtype: str, count: int) -> np.ndarray:
        # An empty file cannot be mapped; a file of another size makes this raise a ValueError.
        return np.memmap(self.folder / name, dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)

    def __getstate__(self) -> Path:
        """A copy in another process maps the files itself instead of being sent their content."""
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        self.__init__(folder)

    def __len__(self) -> int:
        """Documents."""
        return self.about["documents"]

    def document(self, number: int) -> Int[np.ndarray, "t"]:
        """Its ids, from ⟨bos⟩ to ⟨eos⟩."""
        return self.tokens[self.ends[number - 1] if number else 0 : self.ends[number]]


def stored(name: str, documents: Documents, tokenizer: StreamTokenizer, on_bad_row: str, cache: str) -> TokenStore:
    """The tokenised documents of a split called `name`, from the folder `cache` where they are there already."""
    known = repr((VERSION, documents.digest, tokenizer.digest, on_bad_row))
    folder = Path(cache) / "streams" / sha256(known.encode()).hexdigest()
    try:
        store = TokenStore(folder)
    except (OSError, ValueError, KeyError):  # not there yet, or damaged: both are cured by writing it
        _write(name, documents, tokenizer, Faults(on_bad_row), folder)
        store = TokenStore(folder)
    warn(name, store.about["left_out"], store.about["named"])
    return store


def _write(name: str, documents: Documents, tokenizer: StreamTokenizer, faults: Faults, folder: Path) -> None:
    """The facts come last: where they are, everything is."""
    dtype = "uint16" if tokenizer.size <= 1 << 16 else "uint32"
    ends, progress = array("q"), Progress(name, documents.size)

    def fill(path: Path) -> None:
        with path.open("wb") as file:
            for ids in _encoded(documents.read(faults), tokenizer, ends, progress):
                np.array(ids, dtype).tofile(file)

    atomic.write(folder / "tokens.bin", fill)
    atomic.write(folder / "ends.bin", lambda path: np.array(ends, np.int64).tofile(path))
    about = {"dtype": dtype, "tokens": ends[-1] if ends else 0, "documents": len(ends)}
    about |= {"left_out": faults.count, "named": faults.named}
    atomic.write_text(folder / "about.json", json.dumps(about))
    progress.close(about["tokens"], len(ends))


def _encoded(
    documents: Iterable[Blocks], tokenizer: StreamTokenizer, ends: array, progress: "Progress"
) -> Iterator[list[int]]:
    """Ids in batches; `ends` gets the place behind each document."""
    begins, written = True, 0
    for batch in batches(piece for blocks in documents for piece in pieces(blocks)):
        out: list[int] = []
        texts = [text for text, _ in batch]
        for ids, (_, last) in zip(tokenizer.encode_pieces(texts), batch, strict=True):
            out += [BOS, *ids] if begins else ids
            begins = last
            if last:
                out.append(EOS)
                ends.append(written + len(out))
        written += len(out)
        progress.add(sum(map(len, texts)), written, len(ends))
        yield out


def pieces(blocks: Blocks) -> Iterator[Piece]:
    """A document, cut where the tokenizer would cut anyway if there is such a place; a space is put before it."""
    rest = " "
    for block in blocks:
        rest += block
        while len(rest) > PIECE:
            at = _before_word(rest)
            yield rest[:at], False
            rest = rest[at:]
    yield rest, True


def _before_word(text: str) -> int:
    """The last place in reach that has one space behind it and a word on either side."""
    at = PIECE
    while (at := text.rfind(" ", 1, at)) > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at
    return PIECE


def batches(found: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch, size = [], 0
    for piece in found:
        batch.append(piece)
        size += len(piece[0])
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Progress:
    """A line every few seconds, so that a log file can be read too. total: characters, where they are known."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.done = name, total, 0
        self.begin = self.last = time.monotonic()

    def add(self, characters: int, tokens: int, documents: int) -> None:
        self.done += characters
        if time.monotonic() - self.last >= SECONDS:
            self.last = time.monotonic()
            share = f"{min(1.0, self.done / self.total):.0%}, " if self.total else ""
            rate = tokens / (self.last - self.begin)
            log.info(
                "%s: %s%s tokens of %s documents (%s a second)", self.name, share, *_counts(tokens, documents, rate)
            )

    def close(self, tokens: int, documents: int) -> None:
        seconds, threads = time.monotonic() - self.begin, os.environ.get("RAYON_NUM_THREADS") or os.cpu_count()
        said = _counts(tokens, documents)
        log.info("%s: tokenised %s tokens of %s documents in %.1f s (%s threads)", self.name, *said, seconds, threads)


def _counts(*numbers: float) -> tuple[str, ...]:
    return tuple(f"{number:,.0f}" for number in numbers)
