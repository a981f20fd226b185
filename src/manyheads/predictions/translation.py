"""One translation a line, in the order of the input; empty lines stay empty."""

import re
from collections.abc import Iterator

from manyheads.errors import UserError
from manyheads.load import Loaded, translator
from manyheads.predictions.asked import Predict
from manyheads.predictions.lines import read_lines

BREAK = re.compile(r"[\r\n]+")


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    if asked.batch < 1:
        raise UserError(f"batch={asked.batch} is no number of sentences: give 1 or more.")
    sentences = read_lines(asked.input)
    write = translator(run, asked.search, asked.width)
    for start in range(0, len(sentences), asked.batch):
        # A translation that breaks the line would move all others to wrong ones.
        yield from (" ".join(BREAK.split(text)) for text in write(sentences[start : start + asked.batch]))
