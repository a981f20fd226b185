"""Byte-level BPE with one table for texts and questions, which also says from which characters each token came.

A character of several bytes may be cut into several tokens; each of them then stands for the whole character.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int
from tokenizers import Tokenizer

from manyheads import atomic
from manyheads.data.tokenizer import SEEN_TWICE, SMALLEST, SPECIALS, pieces, train_table
from manyheads.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """A text's ids (n,), and the characters [begin, end) of the text that each stands for (n, 2)."""

    ids: Int[np.ndarray, "n"]
    characters: Int[np.ndarray, "n 2"]


class TextTokenizer:
    """Ids without special tokens: those are put around chunks, not around texts."""

    def __init__(self, table: Tokenizer, lowercase: bool):
        self._table, self.lowercase = table, lowercase
        table.encode_special_tokens = True  # not part of a table's own file: `<eos>` typed in a text is text

    @property
    def size(self) -> int:
        return self._table.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids alone, which takes half the time."""
        return [encoding.ids for encoding in self._table.encode_batch_fast(list(texts), add_special_tokens=False)]

    def trace(self, texts: Sequence[str]) -> Iterator[Tokens]:
        """Ids and characters of each text; a batch of texts keeps the library's threads busy."""
        for encoding in self._table.encode_batch(list(texts), add_special_tokens=False):
            characters = np.array(encoding.offsets, np.int64).reshape(-1, 2)
            yield Tokens(np.array(encoding.ids, np.int64), characters)

    def decode(self, ids: Sequence[int]) -> str:
        return self._table.decode(list(ids), skip_special_tokens=True).removeprefix(" ")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, as in data/tokenizer.py."""
        return pieces(self._table, ids)

    @property
    def digest(self) -> str:
        """The same for tokenizers that cut texts alike."""
        return hashlib.sha256(self._content().encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """One JSON file, whole or not at all."""
        atomic.write_text(Path(path), self._content())

    def _content(self) -> str:
        content = {"lowercase": self.lowercase, "text": json.loads(self._table.to_str())}
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Raises UserError where the file is missing, cut short or something else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(Tokenizer.from_str(json.dumps(content["text"])), bool(content["lowercase"]))
        except FileNotFoundError as error:
            raise UserError(f"{path}: there is no such tokenizer file.") from error
        except Exception as error:  # `tokenizers` raises bare Exception for a table that it does not understand
            raise UserError(f"{path} is no tokenizer of documents, or it is damaged ({error}).") from error


def train(texts: Iterable[str], vocabulary: int, lowercase: bool) -> TextTokenizer:
    """At most `vocabulary` ids, specials included. The same texts and options give the same table.

    Raises UserError where `vocabulary` cannot hold every byte.
    """
    if vocabulary < SMALLEST:
        raise UserError(
            f"data.vocabulary={vocabulary} is too small: the 256 bytes and {len(SPECIALS)} special tokens alone are "
            f"{SMALLEST} ids."
        )
    return TextTokenizer(train_table(texts, vocabulary, lowercase), lowercase)


def train_once(
    texts: Iterable[str], content: Sequence[bytes], vocabulary: int, lowercase: bool, cache: str | Path
) -> TextTokenizer:
    """`train`, or what it gave for the same options before, from the folder `cache`.

    content: digests of the very texts, so that they need not be read again to know them.
    """
    options = {"vocabulary": vocabulary, "lowercase": lowercase}
    known = json.dumps([options, tokenizers.__version__, SPECIALS, SEEN_TWICE]).encode()
    name = hashlib.sha256(known + b"".join(content)).hexdigest()
    path = Path(cache) / "tokenizers" / f"text-{name}.json"
    try:
        return TextTokenizer.load(path)
    except UserError:  # not there yet, or damaged: both are cured by training
        log.info("training a tokenizer on %s texts", f"{len(content):,}")
        tokenizer = train(texts, vocabulary, lowercase)
        tokenizer.save(path)
        return tokenizer
