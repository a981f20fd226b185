"""Stories that cannot be foretold without looking far back: who is what, lives where and keeps which thing is told
once, early; things change hands; and much later, after other talk, all of it is asked again.

A reader who sees only the last few sentences can foretell their grammar, but no answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from manyheads.data.synthetic.english import english
from manyheads.data.synthetic.entries import rows
from manyheads.data.synthetic.grammar import Grammar
from manyheads.errors import UserError

EDITION = 1  # another number where the same seed no longer tells the same story
FEWEST, MOST = 20, 100_000  # of fewer stories, 5 % are not one for each split
CAST = (3, 5)
TALK = (2, 4)  # sentences of other talk in a paragraph
PARAGRAPHS = (3, 6)
[NAMES] = rows(
    "Agnes|Albert|Bruno|Carla|Conrad|Dora|Edgar|Elsa|Ernest|Flora|Frida|Gustav|Hanna|Hugo|Ida|Iris|Jakob|Karl|Lena|Leo|"
    "Lotte|Martha|Max|Mina|Nora|Olga|Oscar|Otto|Paula|Peter|Rosa|Rudolf|Selma|Simon|Thea|Theo|Ursula|Viktor|Wanda"
)
[TRADES] = rows(
    "miller|smith|tailor|painter|sailor|weaver|potter|fisher|hunter|carpenter|cobbler|shepherd|clerk|singer"
)
[HOMES] = rows(
    "the old mill|the north gate|the stone bridge|the river|the market|the tall tower|the chapel|the harbour|"
    "the apple garden|the school|the town hall|the lake"
)
[COLOURS] = rows("red|blue|green|yellow|white|black|brown|grey|silver|golden")
[THINGS] = rows("lantern|whistle|ring|drum|flute|map|mirror|purse|knife|hat|blanket|compass|bell|clock|basket|spoon")


@dataclass(frozen=True)
class Story:
    """answers: where in the text the words stand that only what was told before can foretell, [begin, end) each."""

    text: str
    answers: tuple[tuple[int, int], ...]


@dataclass
class Person:
    name: str
    trade: str
    home: str
    keeps: str


def stories_of(split: str, stories: int, seed: int) -> Iterator[str]:
    """The `train`, `val` or `test` part, 90 / 5 / 5, of so many stories: the same for the same numbers everywhere.

    Raises UserError where a part would be empty.
    """
    if not FEWEST <= stories <= MOST:
        raise UserError(
            f"data.stories={stories}: {FEWEST} to {MOST:,} stories can be told; or bring your own text with data.path=."
        )
    few = stories // 20
    numbers = {"train": range(2 * few, stories), "val": range(few), "test": range(few, 2 * few)}
    return (tell_story(Random(f"{seed} {number}")).text for number in numbers[split])


def tell_story(random: Random) -> Story:
    teller = Teller(random)
    teller.begin()
    for _ in range(random.randint(*PARAGRAPHS)):
        teller.go_on()
    teller.ask()
    return Story("".join(teller.text), tuple(teller.answers))


class Teller:
    """A story as it grows."""

    def __init__(self, random: Random) -> None:
        self.random, self.grammar = random, Grammar(random)
        count = random.randint(*CAST)
        things = [f"{random.choice(COLOURS)} {thing}" for thing in random.sample(THINGS, count)]
        of = zip(
            random.sample(NAMES, count), random.sample(TRADES, count), random.sample(HOMES, count), things, strict=True
        )
        self.cast = [Person(*facts) for facts in of]
        self.text: list[str] = []
        self.answers: list[tuple[int, int]] = []

    def begin(self) -> None:
        """Every fact once."""
        for person in self.random.sample(self.cast, len(self.cast)):
            self._say(f"{person.name} is a {person.trade} and lives by {person.home}.")
            self._say(f"{person.name} keeps a {person.keeps}.")

    def go_on(self) -> None:
        """Other talk, and perhaps two people who change what they keep, or a question."""
        self.text.append("\n\n")
        for _ in range(self.random.randint(*TALK)):
            self._say(english(self.grammar.derivation()))
        chance = self.random.random()
        if chance < 0.3:
            self._swap(*self.random.sample(self.cast, 2))
        elif chance < 0.6:
            self._ask_about(self.random.choice(self.cast))

    def ask(self) -> None:
        """Twice about everyone, in another order."""
        self.text.append("\n\n")
        for person in self.random.sample(2 * self.cast, 2 * len(self.cast)):
            self._ask_about(person)

    def _swap(self, one: Person, other: Person) -> None:
        self._say(f"Then {one.name} and {other.name} swap what they keep.")
        one.keeps, other.keeps = other.keeps, one.keeps

    def _ask_about(self, person: Person) -> None:
        ask = self.random.choice(("keeper", "thing", "home", "trade"))
        if ask == "keeper":
            self._say(f"Who keeps the {person.keeps}?", "", person.name, " does.")
        elif ask == "thing":
            self._say(f"What does {person.name} keep?", "The ", person.keeps, ".")
        elif ask == "home":
            self._say(f"Who lives by {person.home}?", "The ", person.trade, ".")
        else:
            self._say(f"Where is the {person.trade} at home?", "By ", person.home, ".")

    def _say(self, sentence: str, before: str = "", answer: str = "", behind: str = "") -> None:
        """A sentence, and the answer to it where it is a question."""
        self._add(sentence)
        if answer:
            self._add(before)
            begin = sum(map(len, self.text))
            self.text.append(answer)
            self.answers.append((begin, begin + len(answer)))
            self.text.append(behind)

    def _add(self, words: str) -> None:
        if self.text and not self.text[-1].endswith("\n"):
            self.text.append(" ")
        self.text.append(words)
