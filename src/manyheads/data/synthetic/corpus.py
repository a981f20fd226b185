"""Sentence pairs in four splits. `test_compositional` asks for what was never shown: words met in training, in
combinations that were held out of it (a verb with that object, an adjective before that noun, a separable verb in
a relative clause).
"""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

from manyheads.data.synthetic import lexicon
from manyheads.data.synthetic.derivation import Combination, Derivation
from manyheads.data.synthetic.english import english
from manyheads.data.synthetic.german import german
from manyheads.data.synthetic.grammar import ADJECTIVES, Grammar, objects_of
from manyheads.errors import UserError

LARGEST = 200_000  # The grammar has far more, but they add words in other places and no new structure.
SMALLEST = 500  # Fewer sentences do not hold the words that test_compositional needs.
LONGEST = 24  # Words of a side; a few sentences in a hundred would be longer and slow every batch.
HELD_OUT = 8  # One combination in so many is kept from training.
PATIENCE = 100  # Draws per pair that is wanted, before the search is given up.
MARKS = str.maketrans("", "", ".,?")
SHARE, LEAST = 20, 200  # val, test and test_compositional: train / SHARE each, at least LEAST.


class Pair(NamedTuple):
    """A derivation and its two sentences."""

    derivation: Derivation
    english: str
    german: str


def generate(pairs: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """The corpus: (English, German) sentences of `train` (as many as `pairs`), `val`, `test`, `test_compositional`.

    The same numbers give the same corpus on every machine. No sentence of either language is in it twice.
    Raises UserError if `pairs` is more than the grammar gives, or too few to learn its words from.
    """
    splits = derive(pairs, seed)
    return {split: [(pair.english, pair.german) for pair in found] for split, found in splits.items()}


def derive(pairs: int, seed: int) -> dict[str, list[Pair]]:
    """The same corpus with the derivation of each pair."""
    if not SMALLEST <= pairs <= LARGEST:
        raise UserError(
            f"The generated corpus cannot have {pairs} training pairs: "
            f"ask for {SMALLEST} to about {LARGEST} (data.pairs), or bring your own text (data.path)."
        )
    small = max(LEAST, pairs // SHARE)
    held, stream = held_out(seed), _distinct(seed)
    known = _take(stream, pairs + 2 * small, lambda pair: not pair.derivation.combinations() & held)
    # Later draws are longer, as the short sentences run out: without a shuffle the tests would be harder than train.
    Random(f"{seed} order").shuffle(known)
    train, val, test = known[:pairs], known[pairs : pairs + small], known[pairs + small :]
    words = _words(train)
    new = _take(stream, small, lambda pair: pair.derivation.combinations() & held and _words([pair]) <= words)
    return {"train": train, "val": val, "test": test, "test_compositional": new}


def held_out(seed: int) -> frozenset[Combination]:
    """The combinations that only test_compositional has, as `Derivation.combinations` names them."""
    random, held = Random(f"{seed} held out"), []
    for verb in lexicon.VERBS:
        pairs = [("object", verb.english, noun.english) for noun in objects_of(verb)]
        held += random.sample(pairs, len(pairs) // HELD_OUT)
    for adjective in lexicon.ADJECTIVES:
        nouns = [noun for noun, fitting in ADJECTIVES.items() if adjective in fitting]
        pairs = [("adjective", adjective.english, noun.english) for noun in nouns]
        held += random.sample(pairs, len(pairs) // HELD_OUT)
    separable = [("relative", verb.english) for verb in lexicon.VERBS if verb.prefix]
    return frozenset(held + random.sample(separable, len(separable) // HELD_OUT))


def _distinct(seed: int) -> Iterator[Pair | None]:
    """Pairs without end, none with a sentence that was there before; None for each draw that was no use."""
    grammar, seen = Grammar(Random(seed)), set()
    while True:
        derivation = grammar.derivation()
        pair = Pair(derivation, english(derivation), german(derivation))
        if seen.isdisjoint(pair[1:]) and max(len(side.split()) for side in pair[1:]) <= LONGEST:
            seen.update(pair[1:])
            yield pair
        else:
            yield None


def _take(stream: Iterator[Pair | None], number: int, wanted: Callable[[Pair], bool]) -> list[Pair]:
    found: list[Pair] = []
    for pair in islice(stream, 10_000 + PATIENCE * number):
        if pair and wanted(pair):
            found.append(pair)
            if len(found) == number:
                return found
    raise UserError(
        f"The generated corpus ran dry after {len(found)} of {number} sentence pairs: "
        f"change the seed, or data.pairs (from {SMALLEST} to about {LARGEST})."
    )


def word_forms(text: str) -> list[str]:
    """The words of a sentence as they are written, without its marks."""
    return text.translate(MARKS).split()


def _words(pairs: list[Pair]) -> set[str]:
    return {word for pair in pairs for side in pair[1:] for word in word_forms(side)}
