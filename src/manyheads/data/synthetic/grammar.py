"""Draws derivations at random. What it never draws keeps every sentence unambiguous and worth saying:

a noun twice in one sentence, a time behind a relative clause (whose is it?), a relative clause with something of
the outer clause behind it in English (except on the subject), two clauses inside each other more than twice.
"""

from dataclasses import replace
from random import Random
from typing import NamedTuple

from manyheads.data.synthetic import lexicon as words
from manyheads.data.synthetic.derivation import Clause, Derivation, NounPhrase, Place, Relative
from manyheads.data.synthetic.entries import Adjective, Noun, Phrase, Plain, Verb
from manyheads.data.synthetic.lexicon import PAST, PRESENT
from manyheads.data.synthetic.numbers import english_number, german_number

DEPTH = 2
LIVING = ("person", "animal")
# One of these starts the sentence; the numbers are shares.
FORMS = {"statement": 10, "time": 5, "question": 3, "subordinate": 6, "complement": 3, "quality": 2}
CONJUNCTIONS = (words.BECAUSE, words.ALTHOUGH, words.IF, words.WHEN, words.WHILE)
DETERMINERS = {"the": 10, "a": 6, "this": 2, "every": 1, "my": 2, "our": 2}
TENSES = {PRESENT: 5, PAST: 4} | dict.fromkeys(words.MODALS, 1)


def _by_kind(nouns: tuple[Noun, ...]) -> dict[str, list[Noun]]:
    kinds = sorted({kind for noun in nouns for kind in noun.kinds})
    return {kind: [noun for noun in nouns if kind in noun.kinds] for kind in kinds}


NOUNS = _by_kind(words.NOUNS + words.PLACES)
ADJECTIVES = {
    noun: [adjective for adjective in words.ADJECTIVES if adjective.kinds & noun.kinds]
    for noun in words.NOUNS + words.PLACES
}


def objects_of(verb: Verb) -> list[Noun]:
    """The nouns that the verb takes as its object, in the order of the lexicon."""
    return _OBJECTS[verb]


def verbs_of(subject: Noun | None) -> list[Verb]:
    """The verbs that the subject can do; None is a name or a pronoun, which stands for a person."""
    return _VERBS[subject.kinds if subject else frozenset({"person"})]


_OBJECTS = {verb: [noun for noun in ADJECTIVES if noun.kinds & verb.objects] for verb in words.VERBS}
_VERBS = {
    kinds: [verb for verb in words.VERBS if verb.subjects & kinds] for kinds in {noun.kinds for noun in words.NOUNS}
}


class Room(NamedTuple):
    """How much a phrase may still grow. depth: clauses inside each other; rich: how often it takes that room."""

    depth: int
    rich: float

    def rarely(self, share: float) -> "Room":
        return Room(self.depth, self.rich * share)

    def where(self, allowed: bool) -> "Room":
        return self if allowed else NONE

    def inside(self) -> "Room":
        return Room(self.depth - 1, self.rich)


NONE, SOME, MUCH = Room(0, 0.0), Room(1, 0.3), Room(DEPTH, 0.5)


class Grammar:
    """Draws sentences with its own generator of random numbers; the same seed draws the same sentences."""

    def __init__(self, random: Random):
        self.random = random
        self.used: set[str] = set()

    def derivation(self) -> Derivation:
        """One sentence."""
        self.used = set()
        form = self._weighted(FORMS)
        if form in ("subordinate", "complement"):
            return self._subordinate() if form == "subordinate" else self._complement()
        if form == "quality":
            return Derivation(self._quality(), self._pick(("subject", "subject", "question")))
        main = self._clause(self._weighted(TENSES), MUCH)
        if form == "time" and main.verb.english not in words.LASTING:
            return Derivation(_with_time(main, self._time(main.tense)), "time")
        return Derivation(self._timed(main, 0.3), "question" if form == "question" else "subject")

    def _subordinate(self) -> Derivation:
        conjunction = self._pick(CONJUNCTIONS)
        tense = {words.IF: PRESENT, words.WHEN: PAST}.get(conjunction) or self._pick((PRESENT, PAST))
        weather = conjunction in (words.BECAUSE, words.ALTHOUGH, words.IF) and self._chance(0.2)
        front = self._pick(("subject", "clause"))
        main_tense = self._pick((tense, *words.MODALS[:3])) if conjunction is words.IF else tense
        main = self._clause(main_tense, SOME)
        if weather:
            inner = Clause(words.IT, self._pick(words.WEATHER), tense)
        else:
            inner = self._timed(self._clause(tense, SOME), 0.2)
        if conjunction in (words.WHEN, words.WHILE):
            main, inner = _once(main), _once(inner)
        return Derivation(main, front, conjunction, inner)

    def _complement(self) -> Derivation:
        verb = self._pick((*words.SAYING, words.ASK))
        main = Clause(self._subject(("person",), NONE), verb)
        inner = self._timed(self._clause(self._weighted(TENSES), SOME), 0.2)
        return Derivation(main, "subject", words.WHETHER if verb is words.ASK else words.THAT, inner)

    def _quality(self) -> Clause:
        kind = self._pick((*LIVING, "person", "thing", "place"))
        subject = self._phrase(NOUNS[kind], Room(DEPTH, 0.8))
        tense = self._pick((PRESENT, PAST))
        if kind in LIVING and self._chance(0.5):
            years = self.random.randint(2, 99)
            age = Phrase(f"{english_number(years)} years old", f"{german_number(years)} Jahre alt")
            return Clause(subject, words.BE, tense, predicate=age)
        adjective = self._pick([other for other in ADJECTIVES[subject.noun] if other != subject.adjective])
        return Clause(subject, words.BE, tense, predicate=Phrase(adjective.english, adjective.german))

    def _clause(self, tense: str, room: Room) -> Clause:
        """A clause with its subject; where the subject has a relative clause, nothing else in it has."""
        subject = self._subject(LIVING, room.rarely(0.6))
        verb = self._pick(verbs_of(getattr(subject, "noun", None)))
        return self._complete(subject, verb, tense, room.where(not _heavy(subject)))

    def _complete(
        self, subject: NounPhrase | Plain | None, verb: Verb, tense: str, room: Room, gap: str = ""
    ) -> Clause:
        """The rest of a clause whose subject and verb are chosen; gap: the slot that stays empty."""
        giving = verb.frame == "giving"
        object_ = receiver = place = None
        if verb.objects and gap != "object":
            object_ = self._object(objects_of(verb), room.where(not giving))
        if giving:
            receiver = self._object(NOUNS["person"], room)
        if gap != "place":
            place = self._place(verb, object_, room)
        return Clause(subject, verb, tense, object_, receiver, place, self._adverb(verb, tense))

    def _timed(self, clause: Clause, chance: float) -> Clause:
        """The clause, perhaps with a time at its end, where it is clear what the time belongs to."""
        phrases = (clause.object, clause.receiver, clause.place and clause.place.where)
        vague = clause.adverb in words.FREQUENCY or clause.verb.english in words.LASTING
        if vague or any(_heavy(phrase) for phrase in phrases) or not self._chance(chance):
            return clause
        return _with_time(clause, self._time(clause.tense))

    def _place(self, verb: Verb, object_: NounPhrase | Plain | None, room: Room) -> Place | None:
        if verb.frame == "motion":
            return Place(self._phrase(NOUNS["place"], room.rarely(0.7), counted=False), towards=True)
        if "place" not in verb.allows or _heavy(object_) or not self._chance(0.3):
            return None
        return Place(self._phrase(NOUNS["place"], room.rarely(0.4), counted=False))

    def _adverb(self, verb: Verb, tense: str) -> Phrase | None:
        if not self._chance(0.25):
            return None
        if "manner" in verb.allows and self._chance(0.6):
            return self._pick(words.MANNER)
        return self._pick(words.FREQUENCY) if tense in (PRESENT, PAST) else None

    def _time(self, tense: str) -> Phrase:
        if self._chance(0.2):
            hour = self.random.randint(1, 12)
            german = "ein" if hour == 1 else german_number(hour)
            return Phrase(f"at {english_number(hour)} o'clock", f"um {german} Uhr")
        return self._pick(words.TIMES.get(tense, words.TIMES["later"]))

    def _subject(self, kinds: tuple[str, ...], room: Room) -> NounPhrase | Plain:
        if self._chance(0.15):
            return self._pick(words.PRONOUNS)
        if self._chance(0.1):
            return self._name()
        kind = "person" if len(kinds) == 1 or self._chance(0.7) else "animal"
        return self._phrase(NOUNS[kind], room)

    def _object(self, nouns: list[Noun], room: Room) -> NounPhrase | Plain:
        if nouns[0].person and self._chance(0.06):
            return self._name()
        return self._phrase(nouns, room)

    def _name(self) -> Plain:
        name = self._pick([name for name in words.NAMES if name.english not in self.used])
        self.used.add(name.english)
        return name

    def _phrase(self, nouns: list[Noun], room: Room, counted: bool = True) -> NounPhrase:
        noun = self._pick([noun for noun in nouns if noun.english not in self.used] or nouns)
        self.used.add(noun.english)
        determiner = self._weighted(DETERMINERS)
        plural = determiner != "every" and self._chance(0.3)
        count = None
        if plural and counted and determiner == "a" and self._chance(0.7):
            count = self.random.randint(2, 99)
        relative = self._relative(noun, room.inside()) if room.depth and self._chance(room.rich) else None
        return NounPhrase(noun, determiner, plural, self._adjective(noun), count, relative)

    def _adjective(self, noun: Noun) -> Adjective | None:
        return self._pick(ADJECTIVES[noun]) if ADJECTIVES[noun] and self._chance(0.3) else None

    def _relative(self, noun: Noun, room: Room) -> Relative | None:
        """A clause about the noun, which is its subject, its object or its place; None if no verb drawn fits."""
        gaps = ["object"] if "place" not in noun.kinds else ["place", "object"]
        gap = self._pick(("subject", *gaps) if noun.kinds & set(LIVING) else gaps)
        subject = None if gap == "subject" else self._subject(LIVING, room.rarely(0.15))
        able = verbs_of(noun if gap == "subject" else getattr(subject, "noun", None))
        fits = [verb for verb in able if self._fits(verb, noun, gap)]
        if not fits:
            return None
        clause = self._complete(subject, self._pick(fits), self._weighted(TENSES), room, gap)
        return Relative(self._timed(clause, 0.15), gap)

    @staticmethod
    def _fits(verb: Verb, noun: Noun, gap: str) -> bool:
        if gap in ("subject", "place"):
            return gap == "subject" or "place" in verb.allows
        return verb.frame != "giving" and bool(verb.objects & noun.kinds)

    def _weighted(self, shares: dict[str, int]) -> str:
        return self.random.choices(list(shares), list(shares.values()))[0]

    def _pick(self, options):
        return options[self.random.randrange(len(options))]

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability


def _heavy(phrase: NounPhrase | Plain | None) -> bool:
    return isinstance(phrase, NounPhrase) and phrase.relative is not None


def _with_time(clause: Clause, time: Phrase) -> Clause:
    return replace(_once(clause), time=time)


def _once(clause: Clause) -> Clause:
    """The clause as one event: neither `often … yesterday` nor `when … often`."""
    return replace(clause, adverb=None) if clause.adverb in words.FREQUENCY else clause
