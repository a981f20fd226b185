"""Formal languages whose every prefix has a label: what the word so far is, or what may follow it.

The label of the last prefix, the whole word, says whether it belongs to the language: recognition, which the theorems
are about (Hahn 2020). Labels of all prefixes teach it from one word as many times as it has symbols, and say where a
reader loses count (transduction, as in Delétang et al. 2023; the next closing bracket, as in Yao et al. 2021).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random

from manyheads.data.formal.paths import Paths

OPENING, CLOSING = "([{<", ")]}>"
NEITHER = "nothing"
"""The label of what no word of the language begins with."""


class Language(ABC):
    """symbols: of its words. labels: names; `accepting`: those of prefixes that are words of the language.

    step: its words are as long as multiples of this.
    """

    symbols: str
    labels: tuple[str, ...]
    accepting: frozenset[int]
    step = 2

    @abstractmethod
    def draw(self, length: int, dice: Random) -> str:
        """Symbols in a row: as often a word of the language as none, and those that are none are nearly one."""

    @abstractmethod
    def mark(self, word: str) -> list[int]:
        """The label of every prefix, the empty one first."""


class Parity(Language):
    """Bits of which an even number is 1. Whoever overlooks one of them is wrong."""

    symbols, labels, accepting, step = "01", ("even", "odd"), frozenset({0}), 1

    def draw(self, length: int, dice: Random) -> str:
        return "".join(dice.choices(self.symbols, k=length))

    def mark(self, word: str) -> list[int]:
        found = [0]
        for symbol in word:
            found.append(found[-1] ^ (symbol == "1"))
        return found


class Counted(Language):
    """aⁿbⁿ, n ≥ 1: one counter, and no way back. Others have one or two symbols changed for the other."""

    symbols, labels, accepting = "ab", ("a or b", "b", "end", NEITHER), frozenset({2})

    def draw(self, length: int, dice: Random) -> str:
        word = ["a"] * (length // 2) + ["b"] * (length // 2)
        if dice.random() < 0.5:
            many = 1 if length == 2 else dice.choice((1, 1, 2))  # ab changed twice is ba, too
            # Near the border as often as anywhere: far from it, the first change is all that one has to see.
            near = sorted(range(length), key=lambda at: abs(2 * at + 1 - length))[: max(many, 4)]
            for at in dice.sample(dice.choice((near, range(length))), many):
                word[at] = "b" if word[at] == "a" else "a"
        return "".join(word)

    def mark(self, word: str) -> list[int]:
        ups, downs, found = 0, 0, [0]
        for symbol in word:
            broken = found[-1] == 3 or (symbol == "a" and downs) or (symbol == "b" and downs == ups)
            ups, downs = ups + (symbol == "a"), downs + (symbol == "b")
            found.append(3 if broken else 0 if not downs else 2 if ups == downs else 1)
        return found


class Dyck(Language):
    """Brackets of `kinds`, well nested, at most `depth` open at once. The label is the bracket that must close next.

    Words are drawn evenly from all of their length. Of the others one half has one bracket closed by another kind
    (of a single kind: opened instead), the other half ends with two of them open.
    """

    def __init__(self, kinds: int, depth: int) -> None:
        self.kinds, self.depth = kinds, depth
        self.symbols = OPENING[:kinds] + CLOSING[:kinds]
        self.labels = ("end", *CLOSING[:kinds], NEITHER)
        self.accepting = frozenset({0})
        self._paths = {end: Paths(depth, end) for end in (0, 2)}

    def draw(self, length: int, dice: Random) -> str:
        fate = dice.random()
        if fate < 0.25 and length > 2:
            return self._brackets(self._paths[2].draw(length, dice), dice)
        word = self._brackets(self._paths[0].draw(length, dice), dice)
        return word if fate >= 0.5 else self._spoiled(word, dice)

    def mark(self, word: str) -> list[int]:
        stack, broken, found = [], False, [0]
        for symbol in word:
            kind = self.symbols.index(symbol)
            if kind < self.kinds:
                stack.append(kind)
                broken |= len(stack) > self.depth
            else:
                broken |= not stack or stack.pop() != kind - self.kinds
            found.append(self.kinds + 1 if broken else 1 + stack[-1] if stack else 0)
        return found

    def _brackets(self, ups: Sequence[bool], dice: Random) -> str:
        stack, found = [], []
        for up in ups:
            if up:
                stack.append(dice.randrange(self.kinds))
                found.append(OPENING[stack[-1]])
            else:
                found.append(CLOSING[stack.pop()])
        return "".join(found)

    def _spoiled(self, word: str, dice: Random) -> str:
        at = dice.choice([place for place, symbol in enumerate(word) if symbol in CLOSING])
        others = [symbol for symbol in CLOSING[: self.kinds] if symbol != word[at]] or list(OPENING[:1])
        return word[:at] + dice.choice(others) + word[at + 1 :]
