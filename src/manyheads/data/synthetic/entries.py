"""What an entry of the lexicon knows, and how a line of its tables is read."""

from dataclasses import dataclass

NOMINATIVE, ACCUSATIVE, DATIVE = "nominative", "accusative", "dative"


@dataclass(frozen=True, eq=False)  # Each is there once: compared and hashed by identity, which is fast.
class Noun:
    """oblique: the German singular outside the nominative (der Junge, den Jungen). kinds: what verbs select by.

    at, to: how a place is stood in and gone to, each (English preposition, German preposition, German case).
    """

    english: str
    english_plural: str
    german: str
    gender: str
    german_plural: str
    oblique: str
    kinds: frozenset[str]
    at: tuple[str, str, str] | None = None
    to: tuple[str, str, str] | None = None

    @property
    def person(self) -> bool:
        return "person" in self.kinds


@dataclass(frozen=True, eq=False)
class Verb:
    """prefix: what German splits off in a main clause. case, preposition: what German asks of the object.

    subjects, objects: the kinds of noun that make sense. allows: `manner` and `place`, where these make sense.
    """

    english: str
    english_past: str
    prefix: str
    infinitive: str
    third: str
    participle: str
    auxiliary: str
    frame: str
    case: str
    preposition: str
    subjects: frozenset[str]
    objects: frozenset[str]
    allows: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adjective:
    english: str
    german: str
    kinds: frozenset[str]


@dataclass(frozen=True)
class Phrase:
    """A phrase that never inflects, in both languages: an adverb, a time, a predicate, a conjunction."""

    english: str
    german: str


@dataclass(frozen=True)
class Plain:
    """A pronoun (a subject only) or a name: a noun phrase without article, adjective or clause."""

    english: str
    german: str
    person: int = 3
    plural: bool = False


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def noun_entry(row: list[str], at=None, to=None) -> Noun:
    english, *irregular = row[0].split()
    german, gender, plural, *oblique = row[1].split()
    english_plural = irregular[0] if irregular else third_person(english)
    kinds = frozenset(row[2].split())
    return Noun(english, english_plural, german, gender, plural, (oblique or [german])[0], kinds, at, to)


def third_person(word: str) -> str:
    """The English ending -s of a noun's plural and of a verb's third person: boxes, carries, looks for."""
    first, *rest = word.split()
    if first.endswith(("s", "sh", "ch", "x", "go")):
        first += "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = first[:-1] + "ies"
    else:
        first += "s"
    return " ".join([first, *rest])


def verb_entry(row: list[str], frame: str, case: str = "") -> Verb:
    english, past = (word.strip() for word in row[0].split(","))
    infinitive, third, *participle = row[1].split()
    prefix, _, infinitive = infinitive.rpartition("+")
    auxiliary = "sein" if participle[0] == "ist" else "haben"
    subjects, _, objects = (set(kinds.split()) for kinds in row[2].partition(">"))
    preposition, case = row[4].split() if frame == "preposition" else ("", case)
    parts = (english, past, prefix, infinitive, third, participle[-1], auxiliary, frame, case, preposition)
    return Verb(*parts, frozenset(subjects), frozenset(objects), frozenset(row[3].split()))
