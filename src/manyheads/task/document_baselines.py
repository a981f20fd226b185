"""The baselines' scores beside the model's, on the documents of the same data module."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from manyheads.baseline.documents import Labelled, baselines
from manyheads.task.document_scores import scores

BEGINNING = 512  # Tokens of a truncated reader: the limit of BERT and its kin.
WIDE = 32  # Characters; hardly any token has more.


def baseline_scores(data: Any, rows: dict[str, list[int]], labels: int) -> dict[str, float]:
    """set/baseline/metric, for the test sets and their documents that `rows` names; trained on all of `train`."""
    train = labelled(data, "train")
    tests = {name: labelled(data, name, chosen) for name, chosen in rows.items()}
    return {
        f"{name}/{baseline}/{metric}": value
        for name, found in baselines(train, tests, labels).items()
        for baseline, given in found.items()
        for metric, value in scores(given, tests[name].targets).items()
    }


def labelled(data: Any, split: str, rows: Sequence[int] | None = None) -> Labelled:
    """Texts of a split, each with its question before it; all, or some rows."""
    texts, targets, questions = data.texts(split), np.asarray(data.targets(split)), data.question(split)
    rows = range(len(texts)) if rows is None else rows
    texts = [texts[row] for row in rows]
    openings = ["" if questions is None else f"{questions[row]}\n" for row in rows]
    cuts = beginnings(data.tokenizer, texts)
    return Labelled(
        texts=[opening + text for opening, text in zip(openings, texts, strict=True)],
        targets=targets[list(rows)],
        cuts=[len(opening) + cut for opening, cut in zip(openings, cuts, strict=True)],
    )


def beginnings(tokenizer: Any, texts: list[str]) -> list[int]:
    """The character at which the first BEGINNING tokens of each text end; a text that is there often is cut once."""
    found: dict[str, int] = {}
    for text in texts:
        if text not in found:
            # A short piece first: articles would take seconds.
            begun = _cut(tokenizer, text[: BEGINNING * WIDE])
            found[text] = begun if begun < BEGINNING * WIDE else _cut(tokenizer, text)
    return [found[text] for text in texts]


def _cut(tokenizer: Any, text: str) -> int:
    characters = next(iter(tokenizer.trace([text]))).characters
    return int(characters[BEGINNING - 1, 1]) if len(characters) > BEGINNING else len(text)
