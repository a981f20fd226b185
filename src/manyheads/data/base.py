"""What data tells the model: sizes that the data decides and that no yaml may repeat."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSpec:
    """Facts of a prepared data set.

    kind: the family (`translation`, …), which decides the tasks and models that fit.
    source_vocabulary, target_vocabulary: numbers of token ids; equal, and one table, where `joint`.
    longest: tokens of the longest sequence of any split, specials included.
    pad, bos, eos, sep: ids of the special tokens.
    """

    kind: str
    source_vocabulary: int
    target_vocabulary: int
    joint: bool
    longest: int
    pad: int
    bos: int
    eos: int
    sep: int
