"""Byte-level BPE for text of any length: lossless, piece by piece, and it knows how many bytes each id stands for."""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, normalizers

from manyheads import atomic
from manyheads.data.base import TokenSpec
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP, SMALLEST, SPECIALS, pieces, train_table
from manyheads.errors import UserError


class StreamTokenizer:
    """One table. A document's first piece has a space put before it (as in data/tokenizer.py), later ones have none."""

    def __init__(self, table: Tokenizer) -> None:
        self._table = table
        self._pieces = Tokenizer.from_str(table.to_str())
        self._pieces.normalizer = normalizers.Sequence([])
        for one in (self._table, self._pieces):  # not part of a table's own file: `<eos>` typed in a text is text
            one.encode_special_tokens = True

    @property
    def size(self) -> int:
        return self._table.get_vocab_size()

    @property
    def bytes(self) -> Int[np.ndarray, "vocabulary"]:
        """UTF-8 bytes of each id, none for special tokens; the space before a document is one byte too many."""
        # A byte-level table writes each byte as one character.
        words = [self._table.id_to_token(i) for i in range(self.size)]
        return np.array([0 if i < len(SPECIALS) else len(word) for i, word in enumerate(words)], np.int64)

    def spec(self, longest: int) -> TokenSpec:
        """What a model has to know; `longest`: positions of a row."""
        sizes = {"source_vocabulary": self.size, "target_vocabulary": self.size, "joint": True}
        return TokenSpec(kind="language_model", longest=longest, pad=PAD, bos=BOS, eos=EOS, sep=SEP, **sizes)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of whole documents, without special tokens."""
        return self.encode_pieces([f" {text}" for text in texts])

    def encode_pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """Ids of pieces as they stand, on all threads that `tokenizers` may have."""
        return [found.ids for found in self._pieces.encode_batch_fast(list(pieces), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text without special tokens; bytes that are no UTF-8, as a model may write them, become U+FFFD."""
        return self._table.decode(list(ids), skip_special_tokens=True)

    def decode_document(self, ids: Iterable[int]) -> str:
        """The text of a document from its beginning: without the space that was put before it."""
        return self.decode(ids).removeprefix(" ")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, as in data/tokenizer.py."""
        return pieces(self._table, ids)

    @property
    def digest(self) -> str:
        """The same for tokenizers that cut texts alike."""
        return sha256(self._content().encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """One JSON file, whole or not at all."""
        atomic.write_text(Path(path), self._content())

    def _content(self) -> str:
        return json.dumps({"stream": json.loads(self._table.to_str())}, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | Path) -> "StreamTokenizer":
        """Raises UserError where the file is missing, cut short or something else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(Tokenizer.from_str(json.dumps(content["stream"])))
        except FileNotFoundError as error:
            raise UserError(f"{path}: there is no such tokenizer file.") from error
        except Exception as error:  # `tokenizers` raises bare Exception for a table that it does not understand
            raise UserError(f"{path} is no tokenizer of a language model, or it is damaged ({error}).") from error


def train(texts: Iterable[str], vocabulary: int) -> StreamTokenizer:
    """At most `vocabulary` ids, specials included. Raises UserError where they cannot hold every byte."""
    if vocabulary < SMALLEST:
        raise UserError(
            f"data.vocabulary={vocabulary} is too small: the 256 bytes and {len(SPECIALS)} special tokens alone are "
            f"{SMALLEST} ids."
        )
    return StreamTokenizer(train_table(texts, vocabulary, False))
