"""What data tells the model: sizes that the data decides and that no yaml may repeat."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from manyheads import atomic
from manyheads.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Facts of a prepared data set.

    kind: the family (`translation`, …), which decides the tasks and models that fit.
    longest: positions of the longest sequence that a model reads or writes at once, special tokens included.
    """

    kind: str
    longest: int


@dataclass(frozen=True, kw_only=True)
class TokenSpec(DataSpec):
    """Text: translation and language modelling, whose models write tokens (`writes`).

    source_vocabulary, target_vocabulary: numbers of token ids; equal, and one table, where `joint`.
    pad, bos, eos, sep: ids of the special tokens.
    """

    writes: ClassVar[bool] = True

    source_vocabulary: int
    target_vocabulary: int
    joint: bool
    pad: int
    bos: int
    eos: int
    sep: int


@dataclass(frozen=True, kw_only=True)
class DocumentSpec(TokenSpec):
    """Documents to be labelled.

    labels: their names; a document has one of them, or any number (`multilabel`).
    pool: how the states of a chunk's tokens become one. aggregate: how chunks become one document.
    layers: of the encoder over chunks, where `aggregate` is hierarchical. most: the greatest number of chunks.
    bag_of_words: whether a linear model over the tokens that occur lies beside the body. word_dropout: chance of each
    distinct token of a document to be left out of what the body reads while it trains.
    """

    writes: ClassVar[bool] = False

    labels: tuple[str, ...]
    multilabel: bool
    pool: str
    aggregate: str
    layers: int
    most: int
    bag_of_words: bool
    word_dropout: float


@dataclass(frozen=True, kw_only=True)
class WordSpec(TokenSpec):
    """Words of a formal language; labels: names of those that their prefixes have."""

    writes: ClassVar[bool] = False

    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SeriesSpec(DataSpec):
    """Series to be forecast; `longest` counts patches.

    channels: columns to be forecast. history, horizon: time steps that are given and asked for.
    known: columns that are known of the future too (calendar features and the user's own).
    patch, stride: time steps of a token, and from one to the next. quantiles: what is forecast; none: a point.
    """

    writes: ClassVar[bool] = False

    channels: int
    history: int
    horizon: int
    known: int
    patch: int
    stride: int
    quantiles: tuple[float, ...]


SPECS = {
    "translation": TokenSpec,
    "language_model": TokenSpec,
    "clinical_long": DocumentSpec,
    "timeseries": SeriesSpec,
    "formal_language": WordSpec,
}


def save_spec(spec: DataSpec, folder: Path) -> None:
    """spec.json of a run: what `load_spec` needs to build the model without the data."""
    atomic.write_text(folder / "spec.json", json.dumps(asdict(spec), indent=2, ensure_ascii=False) + "\n")


def load_spec(folder: Path) -> DataSpec:
    """A UserError where the file is missing or damaged."""
    path = folder / "spec.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return SPECS[content["kind"]](**values)
    except FileNotFoundError as problem:
        raise UserError(f"{folder} is no run's folder, or of an older version: it has no spec.json.") from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{path} is damaged ({problem}); a run writes it as it begins.") from problem
