"""The tokenizer of a corpus, learnt from the beginning of its training documents, once."""

import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import tokenizers

from manyheads.data.stream.source import Documents, Faults
from manyheads.data.stream.store import pieces
from manyheads.data.stream.tokenizer import StreamTokenizer, train
from manyheads.data.tokenizer import SEEN_TWICE, SPECIALS
from manyheads.errors import UserError

log = logging.getLogger(__name__)


def learnt(documents: Documents, vocabulary: int, learn_from: int, on_bad_row: str, cache: str) -> StreamTokenizer:
    """A table of at most `vocabulary` ids; what the same text and options gave before is in the folder `cache`."""
    options = (vocabulary, learn_from, tokenizers.__version__, SPECIALS, SEEN_TWICE, on_bad_row)
    name = sha256(repr((options, documents.digest)).encode()).hexdigest()
    path = Path(cache) / "tokenizers" / f"stream-{name}.json"
    try:
        return StreamTokenizer.load(path)
    except UserError:  # not there yet, or damaged: both are cured by training
        log.info(
            "training a tokenizer on the first %s characters", f"{min(learn_from, documents.size or learn_from):,}"
        )
        tokenizer = train(_beginning(documents, learn_from, Faults(on_bad_row)), vocabulary)
        tokenizer.save(path)
        return tokenizer


def _beginning(documents: Documents, characters: int, faults: Faults) -> Iterator[str]:
    """Pieces without the space before a document: training puts one before every text."""
    for blocks in documents.read(faults):
        for text, _ in pieces(blocks):
            yield text[1:characters] if text[:1] == " " else text[:characters]
            characters -= len(text)
            if characters <= 0:
                return
