"""How the model goes on with each line of the input; one line of JSON each, since a continuation may hold several."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from manyheads.analysis.page import Pass
from manyheads.config.objects import instantiate
from manyheads.data.tokenizer import BOS
from manyheads.errors import UserError
from manyheads.load import Loaded
from manyheads.predictions.asked import Predict
from manyheads.predictions.lines import read_lines


def passes(asked: Predict, run: Loaded) -> Iterator[Pass]:
    """Each line as it was typed."""
    device = next(run.model.parameters()).device
    for text in filter(str.strip, read_lines(asked.input)):
        (ids,) = run.tokenizer.encode([text])
        yield Pass([text], partial(run.model, torch.tensor([[BOS, *ids]]).to(device)))


def lines(asked: Predict, run: Loaded) -> Iterator[str]:
    if asked.search == "beam" or asked.width:
        raise UserError("A language model goes on with search=greedy (the likeliest word each time) or search=sample.")
    if asked.tokens < 1 or asked.batch < 1:
        raise UserError(f"tokens={asked.tokens} and batch={asked.batch} must both be 1 or more.")
    write = replace(instantiate(run.config.task.continuation), longest=asked.tokens)
    texts = read_lines(asked.input)
    for start in range(0, len(texts), asked.batch):
        given = texts[start : start + asked.batch]
        prompts = [[BOS, *ids] for ids in run.tokenizer.encode(given)]
        written = write(run.model, run.spec, prompts, asked.search or "greedy")
        for text, ids in zip(given, written, strict=True):
            yield json.dumps({"text": text, "continuation": run.tokenizer.decode(ids)}, ensure_ascii=False)
