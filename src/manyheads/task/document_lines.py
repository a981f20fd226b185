"""What is said of one document, for people and for programs: the same in a test's predictions and in new ones."""

from typing import Any

import numpy as np
from jaxtyping import Float

from manyheads.task.document_scores import chosen

SHOWN = 3  # chunks a document, the loudest


def line(
    labels: tuple[str, ...],
    probabilities: Float[np.ndarray, "k"],
    multilabel: bool,
    chunks: list[tuple[int, float]],
    spans: list[tuple[int, int]],
) -> dict[str, Any]:
    """label: one, or a list of any number. chunks: place and weight of those that spoke loudest.

    spans: characters [begin, end) of each chunk of the document, in its text.
    """
    said = chosen(probabilities[None], multilabel)[0]
    label = [labels[n] for n in np.flatnonzero(said)] if multilabel else labels[int(said)]
    spoke = [{"begin": spans[n][0], "end": spans[n][1], "chunk": n, "weight": round(w, 6)} for n, w in chunks]
    shares = {name: round(float(p), 6) for name, p in zip(labels, probabilities, strict=True)}
    return {"label": label, "probabilities": shares, "chunks": spoke}
