"""How documents are read: whole, or in chunks that overlap."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from manyheads.data.batch import Ragged
from manyheads.data.documents.chunking import cut
from manyheads.data.documents.rows import Chunks, opening
from manyheads.data.documents.store import TokenStore
from manyheads.errors import UserError

log = logging.getLogger(__name__)

SPECIALS = 2  # ⟨bos⟩ and ⟨eos⟩, in every row


@dataclass(frozen=True)
class Reading:
    """Keys as in conf/data/clinical_long.yaml; lengths are those of whole rows, with question and special tokens."""

    read: str
    longest: int
    chunk: int
    overlap: int
    boundaries: str

    def check(self) -> None:
        """Raises UserError where no text could be read like this."""
        if self.read == "whole":
            if self.longest <= SPECIALS:
                raise UserError(f"data.longest={self.longest} leaves no room for a text; give thousands.")
        elif self.overlap < 0 or self.chunk - SPECIALS <= self.overlap:
            raise UserError(
                f"data.chunk={self.chunk} has to be greater than data.overlap={self.overlap} and {SPECIALS} special "
                "tokens, or no chunk holds anything new; a usual choice is 512 with 64."
            )

    def why_not(self, question: list[int] | None) -> str | None:
        """Why a document with this question cannot be read."""
        room = self._room(len(opening(question)))
        if room > (self.overlap if self.read == "chunked" else 0):
            return None
        rule = f"data.chunk={self.chunk} with data.overlap={self.overlap}"
        limit = rule if self.read == "chunked" else f"data.longest={self.longest}"
        return f"the question has {len(question or [])} tokens, which leaves no room for the text in {limit}"

    def chunks(self, store: TokenStore, text: Sequence[int], questions: Sequence[list[int] | None]) -> Chunks:
        """The chunks of documents: each a text of the store and a question or None."""
        openings = Ragged([opening(question) for question in questions])
        parts = [self._spans(store, int(t), int(n)) for t, n in zip(text, openings.lengths, strict=True)]
        spans = np.concatenate([np.zeros((0, 2), np.int64), *parts])
        counts = np.array([len(part) for part in parts], np.int64)
        return Chunks(store, np.asarray(text, np.int64), spans, counts, openings)

    def report_cuts(self, name: str, chunks: Chunks) -> None:
        """Warns of texts of which the end is not read."""
        if self.read != "whole" or not len(chunks):
            return
        lost = chunks.store.lengths[chunks.text, 0] - chunks.spans[:, 1]
        if lost.any():
            log.warning(
                "%s: %s of %s documents are longer than data.longest=%s and lose their end, %s tokens in all",
                name, f"{(lost > 0).sum():,}", f"{len(chunks):,}", self.longest, f"{lost.sum():,}",
            )  # fmt: skip

    def _room(self, opening: int) -> int:
        return (self.longest if self.read == "whole" else self.chunk) - opening - 1

    def _spans(self, store: TokenStore, text: int, opening: int) -> Int[np.ndarray, "chunks 2"]:
        tokens, room = int(store.lengths[text, 0]), self._room(opening)
        if self.read == "whole":
            return np.array([[0, min(tokens, room)]])
        return cut(tokens, room, self.overlap, store.sentences(text) if self.boundaries == "sentences" else None)
