"""The label of every prefix of each line, and whether the line is a word of the language; one line of JSON each."""

import json
from collections.abc import Iterator
from functools import partial

import torch

from manyheads.analysis.page import Pass
from manyheads.data.formal.batch import WordRows
from manyheads.errors import UserError
from manyheads.load import Loaded
from manyheads.predictions.asked import Predict
from manyheads.predictions.lines import read_lines


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    if asked.batch < 1:
        raise UserError(f"batch={asked.batch} is no number of words: give 1 or more.")
    words, data, names = read_lines(asked.input), run.data, run.spec.labels
    rows, device = data.rows_of(words), next(run.model.parameters()).device
    for start in range(0, len(words), asked.batch):
        given = words[start : start + asked.batch]
        said = _labels(run, rows, range(start, start + len(given)), device)
        for word, labels in zip(given, said, strict=True):
            belongs = labels[-1] in data.language.accepting
            told = {"word": word, "labels": [names[label] for label in labels], "belongs": belongs}
            yield json.dumps(told, ensure_ascii=False)


def passes(asked: Predict, run: Loaded) -> Iterator[Pass]:
    """Each word by itself."""
    words = list(filter(None, read_lines(asked.input)))
    rows, device = run.data.rows_of(words), next(run.model.parameters()).device
    for number, word in enumerate(words):
        batch = rows[[number]].to(device)
        yield Pass([word], partial(run.model, batch.ids, batch.lengths))


def _labels(run: Loaded, rows: WordRows, which: range, device: torch.device) -> list[list[int]]:
    batch = rows[list(which)].to(device)
    with torch.inference_mode():
        found = run.model.head(run.model(batch.ids, batch.lengths)).argmax(-1).tolist()
    return [labels[:length] for labels, length in zip(found, batch.lengths.tolist(), strict=True)]
