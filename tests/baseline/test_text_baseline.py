"""N-grams against their definition, token by token, and the compressor."""

from collections import Counter
from math import log

import numpy as np
import pytest

from manyheads.baseline.text import compressed, guesses

BOS, VOCABULARY = 1, 6


def text(length, seed):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(length) < 0.1, BOS, rng.integers(2, VOCABULARY - 1, length)).astype(np.uint16)


def slow(train, test, order):
    """Witten and Bell's interpolation, counted with dictionaries; in front of each text stand zeros."""

    def grams(ids, n):
        ids = [0] * (n - 1) + ids.tolist()
        return [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]

    def odds(gram):
        if not gram:
            return 1 / VOCABULARY
        counts = Counter(grams(train, len(gram)))
        followers = {g: c for g, c in counts.items() if g[:-1] == gram[:-1]}
        total, kinds = sum(followers.values()), len(followers)
        shorter = odds(gram[1:])
        return shorter if not total else (counts[gram] + kinds * shorter) / (total + kinds)

    return -sum(log(odds(gram)) for gram in grams(test, order) if gram[-1] != BOS)


def test_ngrams_are_what_their_definition_says():
    train, test = text(120, 0), text(40, 1)
    found = {guess.name: guess for guess in guesses(train, test, VOCABULARY, BOS)}
    asked = int((test != BOS).sum())
    assert {guess.count for guess in found.values()} == {asked}
    assert found["uniform"].nll == pytest.approx(asked * log(VOCABULARY))
    for order, name in enumerate(("unigram", "bigram", "trigram"), 1):
        assert found[name].nll == pytest.approx(slow(train, test, order))


def test_without_training_text_nothing_is_counted():
    assert [guess.name for guess in guesses(None, text(10, 0), VOCABULARY, BOS)] == ["uniform"]


def test_the_compressor_profits_from_what_it_read_before():
    told = bytes(np.random.default_rng(0).integers(0, 256, 2000, np.uint8))
    assert compressed(b"", told) > 8
    assert compressed(told, told) < 0.5
