"""How well prefixes are labelled, and words recognised."""

from collections.abc import Sequence
from typing import Protocol

Verdict = list[int]
"""The label that a model gives each prefix of a word, the empty one first."""

NAMES = ("accuracy", "recognised")


class Language(Protocol):
    accepting: frozenset[int]

    def mark(self, word: str) -> list[int]: ...


def scores(language: Language, words: Sequence[str], said: Sequence[Verdict]) -> dict[str, float]:
    """accuracy: of all prefixes. recognised: the mean of the shares of words, and of others, that are known as such."""
    right, count = 0, 0
    known: dict[bool, list[bool]] = {}
    for word, labels in zip(words, said, strict=True):
        true = language.mark(word)
        right, count = right + sum(map(int.__eq__, true, labels)), count + len(true)
        belongs = true[-1] in language.accepting
        known.setdefault(belongs, []).append((labels[-1] in language.accepting) == belongs)
    shares = [sum(found) / len(found) for found in known.values()]
    return {"accuracy": right / max(1, count), "recognised": sum(shares) / max(1, len(shares))}
