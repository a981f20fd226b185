"""Token ids of many texts on disk, memory-mapped: made once for a content and a tokenizer, by whoever comes first.

Nothing but the texts and the tokenizer decides them, so that how they are cut, drawn or batched costs no new pass.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int

from manyheads import atomic
from manyheads.data.documents.chunking import SENTENCE, sentence_ends
from manyheads.data.documents.tokenizer import TextTokenizer, Tokens
from manyheads.errors import UserError

log = logging.getLogger(__name__)

FIELDS = {"ids": np.int32, "characters": np.int32, "sentences": np.int32, "lengths": np.int64}
BATCH = 1 << 21  # characters tokenised at once: enough for all threads, and megabytes of memory
SAY_SO = 5.0  # seconds between two lines of progress

Put = Callable[[str, np.ndarray], None]


class TokenStore:
    """What `TextTokenizer.trace` said of each text, text after text.

    lengths (texts, 2): tokens and sentence ends of each. ids (tokens,), characters (2 · tokens,), sentences: flat;
    sentence ends are counted in tokens of their text.
    """

    def __init__(self, ids: np.ndarray, characters: np.ndarray, sentences: np.ndarray, lengths: np.ndarray):
        self.lengths = lengths.reshape(-1, 2)
        self._ids, self._characters, self._sentences = ids, characters.reshape(-1, 2), sentences
        self._begins = np.cumsum(self.lengths, 0) - self.lengths
        totals = self.lengths.sum(0).tolist()
        if [len(ids), len(self._characters), len(sentences)] != [totals[0], totals[0], totals[1]]:
            raise ValueError("the arrays do not belong together")

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, text: int, begin: int, end: int) -> Int[np.ndarray, "n"]:
        """Tokens [begin, end) of a text."""
        first = self._begins[text, 0]
        return self._ids[first + begin : first + end]

    def characters(self, text: int, begin: int, end: int) -> tuple[int, int]:
        """Characters [begin, end) for which the tokens [begin, end) of a text stand."""
        if begin == end:
            return (0, 0)
        first = self._begins[text, 0]
        return int(self._characters[first + begin, 0]), int(self._characters[first + end - 1, 1])

    def sentences(self, text: int) -> Int[np.ndarray, "sentences"]:
        """Places between tokens at which a sentence has ended, ascending."""
        first, count = self._begins[text, 1], self.lengths[text, 1]
        return self._sentences[first : first + count]


def in_memory(texts: Sequence[str], tokenizer: TextTokenizer) -> TokenStore:
    """A store for few texts, which leaves nothing behind."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    _tokenise(texts, len(texts), tokenizer, lambda name, values: parts[name].append(values))
    empty = np.zeros(0, np.int64)
    return TokenStore(**{name: np.concatenate([empty, *values]).astype(FIELDS[name]) for name, values in parts.items()})


def on_disk(texts: Iterable[str], content: Sequence[bytes], tokenizer: TextTokenizer, cache: str) -> TokenStore:
    """The store of these texts in the folder `cache`, made where it is not there. content: a digest of each text.

    Processes may ask at the same time: each makes its own, and the first to finish gives it its name.
    """
    known = "\0".join((tokenizer.digest, tokenizers.__version__, SENTENCE.pattern, "1")).encode()
    folder = Path(cache) / "documents" / hashlib.sha256(known + b"".join(content)).hexdigest()
    found = _open(folder)
    if found is None:
        _make(folder, lambda put: _tokenise(texts, len(content), tokenizer, put))
        found = _open(folder)
    if found is None:
        raise UserError(f"{folder} was damaged as it was read; start the run again.")
    return found


def _open(folder: Path) -> TokenStore | None:
    try:
        return TokenStore(**{name: _map(folder / name, kind) for name, kind in FIELDS.items()})
    except (OSError, ValueError):
        return None


def _map(path: Path, kind: type) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, kind)  # which cannot be mapped
    return np.memmap(path, kind, "r")


def _make(folder: Path, fill: Callable[[Put], None]) -> None:
    """The folder whole or not at all."""
    partial = atomic.beside(folder)
    atomic.clear(folder.parent)
    try:
        partial.mkdir(parents=True)
        files = {name: (partial / name).open("wb") for name in FIELDS}
        fill(lambda name, values: files[name].write(values.astype(FIELDS[name]).tobytes()))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        if _open(folder) is None:  # nobody was faster; what stands there is damaged, or nothing
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    except OSError as problem:
        if _open(folder) is None:
            raise UserError(
                f"{folder} could not be written: {problem.strerror}; make room or set data.cache."
            ) from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _tokenise(texts: Iterable[str], count: int, tokenizer: TextTokenizer, put: Put) -> None:
    done, tokens, began = 0, 0, time.monotonic()
    said = began
    for batch in _batches(texts):
        for text, traced in zip(batch, tokenizer.trace(batch), strict=True):
            ends = _ends(text, traced)
            put("ids", traced.ids)
            put("characters", traced.characters.ravel())
            put("sentences", ends)
            put("lengths", np.array([len(traced.ids), len(ends)]))
            tokens += len(traced.ids)
        done += len(batch)
        if time.monotonic() - said > SAY_SO:
            said = time.monotonic()
            log.info(
                "tokenised %s of %s texts, %s tokens, %.0f s", f"{done:,}", f"{count:,}", f"{tokens:,}", said - began
            )


def _ends(text: str, traced: Tokens) -> np.ndarray:
    """Sentence ends between tokens: the first token that begins behind one; none at the text's own ends."""
    places = np.unique(np.searchsorted(traced.characters[:, 0], sentence_ends(text), "left"))
    return places[(places > 0) & (places < len(traced.ids))]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
