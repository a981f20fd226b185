"""Sentences as a run's model reads them, and the rows of their pronouns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from manyheads.analysis.capture import Read, captured
from manyheads.data.tokenizer import BOS
from manyheads.errors import UserError
from manyheads.load import Loaded
from manyheads.measure.pronouns.sentences import Sentence
from manyheads.model.shapes import EncoderDecoder

AT_ONCE = 64
"""Sentences of a pass."""

PIECES = 2
"""Into how many a noun may be cut and still count as a word that the vocabulary knows."""


@dataclass(frozen=True)
class Row:
    """What a pronoun read in one attention: weights (h, m), and the tokens of both nouns."""

    name: str
    sentence: Sentence
    weights: Float[Tensor, "h m"]
    referent: list[int]
    other: list[int]


def rows(run: Loaded, sentences: list[Sentence]) -> Iterator[Row]:
    """Of every sentence whose words the vocabulary knows, and every attention within the text.

    Left out where a model that reads from left to right cannot know yet. Raises UserError for a run that reads no text,
    and where the vocabulary knows too few of the words.
    """
    read, pieces = _reader(run)
    known = [sentence for sentence in sentences if _known(sentence, pieces(sentence.text))]
    if len(known) < len(sentences) / 10:
        raise UserError(
            f"The vocabulary of this run cuts the words of all but {len(known):,} of {len(sentences):,} English "
            "sentences into bits, so there is nothing to be asked: take a run that has learnt from such text."
        )
    for start in range(0, len(known), AT_ONCE):
        part = known[start : start + AT_ONCE]
        with torch.no_grad(), captured(run.model, len(part)) as reads:
            read([sentence.text for sentence in part])
        for of_rows in reads.values():
            if not of_rows[0].across and len(of_rows) == len(part) and of_rows[0].query_ids is not None:
                yield from _pronouns(of_rows, part, pieces)


def _pronouns(of_rows: list[Read], part: list[Sentence], pieces: Callable) -> Iterator[Row]:
    for read, sentence in zip(of_rows, part, strict=True):
        if read.mask.causal and sentence.behind:
            continue
        places = Places(pieces(read.query_ids.tolist()))
        query = places.of(sentence.pronoun)[-1]
        weights = read.weights(torch.tensor([query]))[:, 0].cpu()
        yield Row(read.name, sentence, weights, places.of(sentence.referent), places.of(sentence.other))


class Places:
    """Which tokens stand for which characters of a text; its pieces begin with a space that the text has not."""

    def __init__(self, pieces: list[str]) -> None:
        self.spans, at = [], -1
        for piece in pieces:
            length = 0 if piece.startswith("<") and piece.endswith(">") else len(piece)
            self.spans.append((at, at + length))
            at += length

    def of(self, span: tuple[int, int]) -> list[int]:
        return [token for token, (begin, end) in enumerate(self.spans) if begin < span[1] and end > span[0]]


def _known(sentence: Sentence, pieces: list[str]) -> bool:
    places = Places(pieces)
    return all(len(places.of(span)) <= PIECES for span in (sentence.pronoun, sentence.referent, sentence.other))


def _reader(run: Loaded) -> tuple[Callable[[list[str]], Any], Callable[[Any], list[str]]]:
    """What reads texts, and what cuts a text, or ids, into pieces."""
    device, tokenizer = next(run.model.parameters()).device, run.tokenizer
    if run.spec.kind == "clinical_long":
        return partial(_documents, run, device), _cutter(tokenizer.encode, tokenizer.pieces)
    if run.spec.kind == "language_model":
        encode = partial(_opened, tokenizer.encode)
        return lambda texts: run.model(_padded(encode(texts), device)[0]), _cutter(encode, tokenizer.pieces)
    if run.spec.kind == "translation":
        read = run.model.encode if isinstance(run.model, EncoderDecoder) else _stream(run.model)
        encode = tokenizer.encode_source
        return lambda texts: read(*_padded(encode(texts), device)), _cutter(encode, tokenizer.source_pieces)
    raise UserError(f"A run of data={run.spec.kind} reads no sentences, so no pronoun can be asked after.")


def _cutter(encode: Callable, pieces: Callable) -> Callable[[Any], list[str]]:
    return lambda given: pieces(encode([given])[0] if isinstance(given, str) else given)


def _opened(encode: Callable, texts: list[str]) -> list[list[int]]:
    return [[BOS, *ids] for ids in encode(texts)]


def _stream(model: Any) -> Callable[[Tensor, Tensor], Any]:
    return lambda tokens, lengths: model(tokens)


def _documents(run: Loaded, device: torch.device, texts: list[str]) -> None:
    """One pass for all: batches of their own size would come in another order."""
    loader, _ = run.data.documents_of(texts)
    run.model(loader.dataset[list(range(len(texts)))].to(device))


def _padded(ids: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in ids], device=device)
    return pad_sequence([torch.tensor(row) for row in ids], batch_first=True).to(device), lengths
