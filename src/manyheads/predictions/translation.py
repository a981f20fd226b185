"""One translation a line, in the order of the input; empty lines stay empty."""

import re
from collections.abc import Iterator
from functools import partial

import torch

from manyheads.analysis.page import Pass
from manyheads.errors import UserError
from manyheads.load import Loaded, translator
from manyheads.predictions.asked import Predict
from manyheads.predictions.lines import read_lines

BREAK = re.compile(r"[\r\n]+")


def passes(asked: Predict, run: Loaded) -> Iterator[Pass]:
    """Each sentence with the translation that the model gave it."""
    write, device = translator(run, asked.search, asked.width), next(run.model.parameters()).device
    for text in filter(str.strip, read_lines(asked.input)):
        (written,) = write([text])
        ids = *run.tokenizer.encode_source([text]), *run.tokenizer.encode_target([written])
        sides = [part for row in ids for part in (torch.tensor([row]).to(device), torch.tensor([len(row)]).to(device))]
        yield Pass([f"{text} → {written}"], partial(run.model.teach, *sides))


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    if asked.batch < 1:
        raise UserError(f"batch={asked.batch} is no number of sentences: give 1 or more.")
    sentences = read_lines(asked.input)
    write = translator(run, asked.search, asked.width)
    for start in range(0, len(sentences), asked.batch):
        # A translation that breaks the line would move all others to wrong ones.
        yield from (" ".join(BREAK.split(text)) for text in write(sentences[start : start + asked.batch]))
