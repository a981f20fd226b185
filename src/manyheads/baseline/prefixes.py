"""What the label of a prefix is worth to those who look at its length or its last symbols alone."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

Words = Sequence[str]
Marks = Sequence[Sequence[int]]

LOOKS: dict[str, Callable[[str], str]] = {
    "majority": lambda prefix: "",
    "bigram": lambda prefix: prefix[-2:],
    "5-gram": lambda prefix: prefix[-5:],
}
"""What each baseline sees of a prefix."""


def guessed(train: Words, train_marks: Marks, tests: Words) -> dict[str, list[list[int]]]:
    """For every baseline the label that each prefix of each test word gets: the most frequent one of what it sees.

    What training has never shown gets the most frequent label of all.
    """
    return {name: _guessed(look, train, train_marks, tests) for name, look in LOOKS.items()}


def _guessed(look: Callable[[str], str], train: Words, marks: Marks, tests: Words) -> list[list[int]]:
    seen, every = defaultdict(Counter), Counter()
    for word, found in zip(train, marks, strict=True):
        every.update(found)
        for end, label in enumerate(found):
            seen[look(word[max(0, end - 5) : end])][label] += 1
    best, usual = {view: most(counts) for view, counts in seen.items()}, most(every)
    return [[best.get(look(word[max(0, end - 5) : end]), usual) for end in range(len(word) + 1)] for word in tests]


def most(counts: Counter[int]) -> int:
    """The most frequent label; of several, the first."""
    return min(counts, key=lambda label: (-counts[label], label))
