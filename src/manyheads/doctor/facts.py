"""What there is to know of prepared data, whichever family it is of."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np

from manyheads.data.clinical import ClinicalLongData
from manyheads.data.documents.documents import Documents
from manyheads.data.formal_language import FormalLanguageData
from manyheads.data.language_model import LanguageModelData
from manyheads.data.timeseries import TimeSeriesData
from manyheads.data.translation import TranslationData

MOST = 200_000
"""Rows of a split that are compared with others: more take minutes to read."""


@dataclass
class Facts:
    """rows: of each split, `what` they are. lengths: of training rows, in `unit`. keys: for each split what makes two
    of its rows the same; alike: the same but for case and white space. cut: shares of rows that lose something, and of
    all tokens that are lost. labels: of each split, numbers of `names`. values: of series, (t, c) with NaN; channels
    names them.
    """

    rows: dict[str, int]
    what: str
    lengths: np.ndarray | None = None
    unit: str = "tokens"
    keys: dict[str, Sequence[Hashable]] = field(default_factory=dict)
    alike: dict[str, Sequence[Hashable]] = field(default_factory=dict)
    cut: tuple[float, float] | None = None
    labels: dict[str, np.ndarray] | None = None
    names: tuple[str, ...] = ()
    values: list[np.ndarray] | None = None
    channels: tuple[str, ...] = ()


@singledispatch
def facts(data: Any) -> Facts:
    """Of a family that nobody told the doctor of: what its loaders know."""
    rows = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    counts = {name: len(loader.dataset) for name, loader in rows.items()}
    lengths = getattr(rows["train"].dataset, "lengths", None)
    return Facts(counts, "rows", None if lengths is None else np.asarray(lengths).reshape(len(lengths), -1).max(1))


@facts.register
def _(data: TranslationData) -> Facts:
    splits = ["train", "val", *data.test_names]
    sources = {name: data.texts(name)[0] for name in splits}
    rows = data.train_dataloader().dataset
    lengths = np.maximum(rows.source.lengths, rows.target.lengths)
    alike = {name: [_plain(text) for text in of] for name, of in _few(sources).items()}
    return Facts({name: len(of) for name, of in sources.items()}, "pairs", lengths, keys=_few(sources), alike=alike)


@facts.register
def _(data: ClinicalLongData) -> Facts:
    splits = ["train", "val", *data.test_names]
    parts = {name: data._prepared[name] for name in splits}
    keys = {name: list(zip(p.documents.digests, p.documents.questions, strict=True)) for name, p in parts.items()}
    train = parts["train"].chunks
    lengths = train.store.lengths[train.text, 0]
    return Facts(
        {name: len(part.documents) for name, part in parts.items()},
        "documents",
        lengths,
        keys=_few(keys),
        alike={name: _alike(part.documents) for name, part in parts.items()},
        cut=_lost(data, lengths),
        labels={name: part.targets for name, part in parts.items()},
        names=data.labels,
    )


def _lost(data: ClinicalLongData, lengths: np.ndarray) -> tuple[float, float]:
    """Read in chunks, nothing is lost."""
    if data.reading.read != "whole":
        return 0.0, 0.0
    train = data._prepared["train"].chunks
    lost = np.maximum(0, lengths - train.spans[:, 1])
    return float((lost > 0).mean()), float(lost.sum() / max(1, lengths.sum()))


@facts.register
def _(data: LanguageModelData) -> Facts:
    splits = ["train", "val", *data.test_names]
    stores = {name: data.store(name) for name in splits}
    keys = {
        name: [hashlib.sha256(store.document(n).tobytes()).digest() for n in range(min(len(store), MOST))]
        for name, store in stores.items()
    }
    ends = np.asarray(stores["train"].ends)
    return Facts({name: len(store) for name, store in stores.items()}, "documents", np.diff(ends, prepend=0), keys=keys)


@facts.register
def _(data: FormalLanguageData) -> Facts:
    keys = {name: data.words(name) for name in ("train", "val", "test")}
    lengths = np.array([len(word) for word in keys["train"]])
    return Facts({name: len(of) for name, of in keys.items()}, "words", lengths, "symbols", keys=_few(keys))


@facts.register
def _(data: TimeSeriesData) -> Facts:
    counts = {name: len(data.windows(name)) for name in ("train", "val", "test")}
    values = data.train_values()
    lengths = np.array([len(part) for part in values])
    return Facts(counts, "windows", lengths, "steps", values=values, channels=data.channels)


def _alike(documents: Documents) -> list[Hashable]:
    return [(_plain(documents.text(n)), documents.questions[n]) for n in range(min(len(documents), MOST))]


def _plain(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).digest()


def _few(keys: dict[str, Sequence[Hashable]]) -> dict[str, Sequence[Hashable]]:
    return {name: of[:MOST] for name, of in keys.items()}
