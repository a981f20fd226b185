"""Sentences of which it is known what their pronoun speaks of: "The boy saw the key. It was old."

Everything is said both ways round and with both pronouns, so that who always takes the noun nearest to the pronoun (or
the subject) is right in exactly half of each kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from random import Random

HE, SHE = ("boy", "uncle", "brother", "grandfather"), ("girl", "aunt", "sister", "grandmother")
ANIMALS, THINGS = ("dog", "cat", "horse", "bird", "rabbit", "duck"), ("box", "basket", "ball", "book", "hat", "cup")
PLACES = ("by", "near", "behind")
LATER = ("old", "new", "small", "big", "far away")

ONLY_OF_ANIMALS, ONLY_OF_THINGS = ("hungry", "tired", "asleep"), ("empty", "broken", "closed")


@dataclass(frozen=True)
class Sentence:
    """kind: what tells the two nouns apart. pronoun, referent, other: where they stand in the text, [begin, end).

    behind: whether what tells them apart stands behind the pronoun, out of sight of who reads from left to right.
    four: which quadruple it is of.
    """

    text: str
    kind: str
    pronoun: tuple[int, int]
    referent: tuple[int, int]
    other: tuple[int, int]
    behind: bool
    four: int = 0

    @property
    def nearest(self) -> bool:
        """Whether the noun nearest to the pronoun is the one."""
        return self.referent > self.other


def sentences(each: int, seed: int) -> list[Sentence]:
    """About `each` sentences of every kind: whole quadruples of both orders and both pronouns."""
    found = []
    for name, kind in KINDS.items():
        quadruples = [list(one) for one in kind()]
        Random(f"{seed} {name}").shuffle(quadruples)
        taken = enumerate(quadruples[: -(-each // 4)])
        found += [replace(sentence, four=number) for number, four in taken for sentence in four]
    return found


def _gender() -> Iterator[Iterator[Sentence]]:
    """The boy stood by the girl. He was old."""
    for he, she, place, later in product(HE, SHE, PLACES, LATER):
        yield _both_ways("gender", (he, "He was"), (she, "She was"), f"stood {place}", later, later)


def _living() -> Iterator[Iterator[Sentence]]:
    """The boy stood by the box. It was old."""
    people = [*((he, "He was") for he in HE), *((she, "She was") for she in SHE)]
    for person, thing, place, later in product(people, THINGS, PLACES, LATER):
        yield _both_ways("living or not", person, (thing, "It was"), f"stood {place}", later, later)


def _number() -> Iterator[Iterator[Sentence]]:
    """The dog stood by the boxes. They were old."""
    plural = {thing: f"{thing}es" if thing.endswith("x") else f"{thing}s" for thing in THINGS}
    for animal, thing, place, later in product(ANIMALS, THINGS, PLACES, LATER):
        yield _both_ways("number", (animal, "It was"), (plural[thing], "They were"), f"stood {place}", later, later)


def _sense() -> Iterator[Iterator[Sentence]]:
    """The cat stood by the box. It was hungry."""
    for animal, thing, place in product(ANIMALS, THINGS, PLACES):
        for living, dead in zip(ONLY_OF_ANIMALS, ONLY_OF_THINGS, strict=True):
            yield _both_ways("sense", (animal, "It was"), (thing, "It was"), f"stood {place}", living, dead)


KINDS = {"gender": _gender, "living or not": _living, "number": _number, "sense": _sense}


def _both_ways(
    kind: str, one: tuple[str, str], other: tuple[str, str], between: str, of_one: str, of_other: str
) -> Iterator[Sentence]:
    """Both orders of two nouns with what is said of the one, and of the other."""
    for first, second in ((one, other), (other, one)):
        for (noun, says), what in ((one, of_one), (other, of_other)):
            begin = f"The {first[0]} {between} the {second[0]}."
            places = {first[0]: (4, 4 + len(first[0])), second[0]: (len(begin) - 1 - len(second[0]), len(begin) - 1)}
            pronoun = (len(begin) + 1, len(begin) + 1 + len(says.partition(" ")[0]))
            away = places[first[0] if noun == second[0] else second[0]]
            yield Sentence(f"{begin} {says} {what}.", kind, pronoun, places[noun], away, kind == "sense")
