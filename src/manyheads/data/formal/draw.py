"""Words for each split. Which split a word is for is its own property, so that no two splits share one."""

import hashlib
from itertools import pairwise
from random import Random

from manyheads.data.formal.languages import Language

SHARE = 10
"""One word of so many is for validation, and one for the test."""

FRUITLESS = 2000
"""After so many draws in a row that gave no new word, a split has all there are."""


def split_of(word: str) -> str:
    """train, val or test: the same in every run, whatever its seed and its lengths."""
    number = hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % SHARE
    return ("test", "val")[number] if number < 2 else "train"


def words(language: Language, lengths: range, count: int, split: str | None, dice: Random) -> list[str]:
    """`count` words of these lengths, all lengths alike. split: which words count; None: all of them.

    For training a word may come again, as short words have to; elsewhere none does, and there may be fewer of them.
    """
    allowed, found, seen, fruitless = [n for n in lengths if n % language.step == 0], [], set(), 0
    while allowed and len(found) < count and fruitless < FRUITLESS:
        word = language.draw(dice.choice(allowed), dice)
        fits = split in (None, split_of(word)) and (split == "train" or word not in seen)
        fruitless = 0 if fits else fruitless + 1
        if fits:
            found.append(word)
            seen.add(word)
    return found


def bins(shortest: int, longest: int, times: list[float]) -> dict[str, range]:
    """The lengths of each part of the test: `2x` begins behind the part before it and ends at 2 · longest."""
    ends = [shortest - 1, *(int(longest * part) for part in times)]
    return {f"{part:g}x": range(low + 1, high + 1) for part, (low, high) in zip(times, pairwise(ends), strict=True)}
