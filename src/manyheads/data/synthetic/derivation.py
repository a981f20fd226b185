"""The abstract sentence, of no language: a small tree that both renderers read, so that a pair always agrees."""

from collections.abc import Iterator
from dataclasses import dataclass

from manyheads.data.synthetic.entries import Adjective, Noun, Phrase, Plain, Verb

Combination = tuple[str, ...]


@dataclass(frozen=True)
class NounPhrase:
    """determiner: the, a, this, every, my, our; `a` in the plural is no word. count: 2 to 99, plural only."""

    noun: Noun
    determiner: str = "the"
    plural: bool = False
    adjective: Adjective | None = None
    count: int | None = None
    relative: "Relative | None" = None

    person = 3


@dataclass(frozen=True)
class Place:
    """Where something happens (`at`) or where it leads (`to`); the noun knows its prepositions."""

    where: NounPhrase
    towards: bool = False


@dataclass(frozen=True)
class Clause:
    """What one verb holds together. In a relative clause the slot that its head fills is None."""

    subject: NounPhrase | Plain | None
    verb: Verb
    tense: str = "present"
    object: NounPhrase | Plain | None = None
    receiver: NounPhrase | Plain | None = None
    place: Place | None = None
    adverb: Phrase | None = None
    time: Phrase | None = None
    predicate: Phrase | None = None


@dataclass(frozen=True)
class Relative:
    """gap: the slot of the clause that the head noun fills: subject, object or place."""

    clause: Clause
    gap: str


@dataclass(frozen=True)
class Derivation:
    """A sentence. front: what German puts before its finite verb: subject, time, clause, or nothing (question)."""

    main: Clause
    front: str = "subject"
    conjunction: Phrase | None = None
    subordinate: Clause | None = None

    def combinations(self) -> frozenset[Combination]:
        """What meets what in this sentence: (adjective, …, noun), (object, verb, noun), (relative, verb)."""
        clauses = [self.main, *([self.subordinate] if self.subordinate else [])]
        return frozenset(found for clause in clauses for found in _in_clause(clause))


def _in_clause(clause: Clause, gap: str = "", head: Noun | None = None) -> Iterator[Combination]:
    object_ = head if gap == "object" else getattr(clause.object, "noun", None)
    if object_:
        yield "object", clause.verb.english, object_.english
    for phrase in (clause.subject, clause.object, clause.receiver, clause.place and clause.place.where):
        if isinstance(phrase, NounPhrase):
            yield from _in_phrase(phrase)


def _in_phrase(phrase: NounPhrase) -> Iterator[Combination]:
    if phrase.adjective:
        yield "adjective", phrase.adjective.english, phrase.noun.english
    if phrase.relative:
        clause = phrase.relative.clause
        yield "relative", clause.verb.english
        yield from _in_clause(clause, phrase.relative.gap, phrase.noun)
