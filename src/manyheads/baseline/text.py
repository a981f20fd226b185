"""What a text's next token is worth to those who look back no further than two tokens, and to a compressor."""

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import numpy as np
from jaxtyping import Float, Int

ORDERS = {1: "unigram", 2: "bigram", 3: "trigram"}


@dataclass(frozen=True)
class Guess:
    """Negative log-likelihood in nats, summed over `count` tokens."""

    name: str
    nll: float
    count: int


def guesses(
    train: Int[np.ndarray, "t"] | None, test: Int[np.ndarray, "s"], vocabulary: int, bos: int
) -> Iterator[Guess]:
    """Uniform, then n-grams counted in `train` where there is any, on every token of `test` but ⟨bos⟩.

    Both are documents one after another. N-grams fall back on shorter ones as Witten and Bell (1991) say: a context
    that was followed by `kinds` different tokens in `count` places leaves kinds / (count + kinds) to the shorter one.
    """
    asked = np.asarray(test) != bos
    yield Guess("uniform", int(asked.sum()) * log(vocabulary), int(asked.sum()))
    if train is None or not len(train):
        return
    odds = np.full(len(test), 1 / vocabulary)
    for order, name in ORDERS.items():
        odds = _better(
            odds, *(_grams(np.asarray(ids, np.int64), order, vocabulary) for ids in (train, test)), vocabulary
        )
        yield Guess(name, float(-np.log(odds[asked]).sum()), int(asked.sum()))


def compressed(before: bytes, text: bytes) -> float:
    """Bits that each byte of `text` adds to a compressed `before`: xz, at its strongest."""
    both, alone = (len(lzma.compress(found, lzma.FORMAT_XZ, preset=9)) for found in (before + text, before))
    return 8 * (both - alone) / max(1, len(text))


def _grams(ids: Int[np.ndarray, "t"], order: int, vocabulary: int) -> Int[np.ndarray, "t"]:
    """One number for each token with its order − 1 predecessors; in front of the text stand zeros."""
    padded = np.concatenate((np.zeros(order - 1, np.int64), ids))
    return sum(padded[at : at + len(ids)] * vocabulary ** (order - 1 - at) for at in range(order))


def _better(
    shorter: Float[np.ndarray, "s"], train: Int[np.ndarray, "t"], test: Int[np.ndarray, "s"], vocabulary: int
) -> Float[np.ndarray, "s"]:
    """The probability of each token of `test`, from that of the shorter context."""
    grams, counts = np.unique(train, return_counts=True)
    contexts, first = np.unique(grams // vocabulary, return_index=True)
    kinds = np.diff(np.append(first, len(grams)))
    totals = np.add.reduceat(counts, first)
    count, (total, kind) = _look(grams, test, counts), _look(contexts, test // vocabulary, totals, kinds)
    known = total > 0
    return np.where(known, (count[0] + kind * shorter) / np.where(known, total + kind, 1), shorter)


def _look(keys: np.ndarray, asked: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """The values at sorted keys; 0 where there is no such key."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return tuple(np.where(keys[at] == asked, value[at], 0) for value in values)
