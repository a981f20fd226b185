"""A derivation in German: the finite verb second in a main clause and last in every other clause.

The middle field is ordered time, receiver, known object, adverb, place, new object. The relative clause of an object
or place that is last there moves behind the closing verb: `ruft das Mädchen an, das lacht`, never `ruft das Mädchen,
das lacht, an`.
"""

from typing import NamedTuple

from manyheads.data.synthetic.derivation import Clause, Derivation, NounPhrase, Place, Relative
from manyheads.data.synthetic.entries import ACCUSATIVE, DATIVE, NOMINATIVE, Plain, Verb
from manyheads.data.synthetic.lexicon import BE, PAST, PRESENT
from manyheads.data.synthetic.numbers import german_number
from manyheads.data.synthetic.punctuation import sentence

# One column per gender, then the plural.
COLUMNS = {"m": 0, "f": 1, "n": 2, "plural": 3}
ARTICLES = {NOMINATIVE: "der die das die", ACCUSATIVE: "den die das die", DATIVE: "dem der dem den"}
STRONG = {NOMINATIVE: "er e es e", ACCUSATIVE: "en e es e", DATIVE: "em er em en"}
WEAK = {NOMINATIVE: "e e e en", ACCUSATIVE: "en e e en", DATIVE: "en en en en"}
STEMS = {"this": "dies", "every": "jed", "a": "ein", "my": "mein", "our": "unser"}
EIN_WORDS = ("a", "my", "our")
KNOWN = ("the", "this", "my", "our")
CONTRACTED = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("von", "dem"): "vom",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
}
# First person singular, third person singular, every plural.
HELPERS = {
    "haben": "habe hat haben",
    "sein": "bin ist sind",
    "was": "war war waren",
    "will": "werde wird werden",
    "can": "kann kann können",
    "must": "muss muss müssen",
    "should": "sollte sollte sollten",
    "want": "will will wollen",
}


class Part(NamedTuple):
    """A phrase of the middle field, and its relative clause, which may have to wait for the closing verb."""

    words: list[str]
    tail: list[str]


def german(derivation: Derivation) -> str:
    """The German sentence of a derivation, with capital, commas and full stop."""
    main, question = derivation.main, derivation.front == "question"
    subordinate = []
    if derivation.subordinate:
        subordinate = [",", derivation.conjunction.german, *verb_last(derivation.subordinate), ","]
    if derivation.front == "clause":
        return sentence([*subordinate, *verb_second(main, "clause")], ".")
    return sentence([*verb_second(main, derivation.front), *subordinate], "?" if question else ".")


def verb_second(clause: Clause, front: str) -> list[str]:
    """A main clause; front: subject or time, or clause or question, where nothing of its own precedes the verb."""
    first = {"subject": _subject(clause), "time": _time(clause)}.get(front, [])
    middle = ([] if front == "subject" else _subject(clause)) + ([] if front == "time" else _time(clause))
    finite, closing = verb_words(clause, clause.subject.person, clause.subject.plural)
    opening = [word for part in first for word in part.words + part.tail]
    return [*opening, finite, *_lay_out(middle + _middle(clause), closing)]


def verb_last(clause: Clause, plural: bool = False) -> list[str]:
    """A subordinate or relative clause; plural is the head's where the subject is a gap."""
    subject = clause.subject
    person, plural = (subject.person, subject.plural) if subject else (3, plural)
    finite, closing = verb_words(clause, person, plural)
    if clause.tense == PRESENT:
        closing = [clause.verb.prefix + finite]
    else:
        closing = [*closing, finite]
    return _lay_out(_subject(clause) + _time(clause) + _middle(clause), closing)


def verb_words(clause: Clause, person: int, plural: bool) -> tuple[str, list[str]]:
    """The finite verb and what closes the clause: a prefix, a participle (the perfect) or an infinitive."""
    verb, tense = clause.verb, clause.tense
    column = 2 if plural else {1: 0, 3: 1}[person]
    if verb is BE and tense in (PRESENT, PAST):
        return HELPERS["sein" if tense == PRESENT else "was"].split()[column], []
    if tense == PRESENT:
        return _present(verb)[column], [verb.prefix] if verb.prefix else []
    if tense == PAST:
        return HELPERS[verb.auxiliary].split()[column], [verb.prefix + verb.participle]
    return HELPERS[tense].split()[column], [verb.prefix + verb.infinitive]


def _present(verb: Verb) -> tuple[str, str, str]:
    stem = verb.infinitive[:-1]
    return stem if stem.endswith("e") else stem + "e", verb.third, verb.infinitive


def _lay_out(parts: list[Part], closing: list[str]) -> list[str]:
    words: list[str] = []
    for part in parts[:-1]:
        words += part.words + part.tail
    last = parts[-1] if parts else Part([], [])
    return words + last.words + closing + last.tail


def _subject(clause: Clause) -> list[Part]:
    """The subject keeps its relative clause beside it: moved away, it would seem to belong to another noun."""
    if not clause.subject:
        return []
    part = _part(clause.subject, NOMINATIVE)
    return [Part(part.words + part.tail, [])]


def _time(clause: Clause) -> list[Part]:
    return [Part([clause.time.german], [])] if clause.time else []


def _middle(clause: Clause) -> list[Part]:
    receiver = [_part(clause.receiver, DATIVE)] if clause.receiver else []
    predicate = [Part([clause.predicate.german], [])] if clause.predicate else []
    return receiver + _object_and_adverbials(clause) + predicate


def _object_and_adverbials(clause: Clause) -> list[Part]:
    verb = clause.verb
    object_ = [_part(clause.object, verb.case, verb.preposition)] if clause.object else []
    adverb = [Part([clause.adverb.german], [])] if clause.adverb else []
    place = [_place(clause.place)] if clause.place else []
    if verb.frame == "object" and _known(clause.object):
        return object_ + adverb + place
    if verb.case == DATIVE and not verb.preposition:
        # Behind the place it would read as a genitive: `in der Küche einer Tante`.
        return adverb + object_ + place
    return adverb + place + object_


def _known(phrase: NounPhrase | Plain | None) -> bool:
    return isinstance(phrase, Plain) or (phrase is not None and phrase.determiner in KNOWN)


def _place(place: Place) -> Part:
    noun = place.where.noun
    _, preposition, case = noun.to if place.towards else noun.at
    return _part(place.where, case, preposition)


def _part(phrase: NounPhrase | Plain, case: str, preposition: str = "") -> Part:
    if isinstance(phrase, Plain):
        return Part([*([preposition] if preposition else []), phrase.german], [])
    words = [preposition] if preposition else []
    words += noun_phrase(phrase, case)
    # A clause that says which one is meant keeps the article apart: `in dem Haus, das …`, but `im Haus`.
    if tuple(words[:2]) in CONTRACTED and phrase.determiner == "the" and not phrase.relative:
        words[:2] = [CONTRACTED[tuple(words[:2])]]
    return Part(words, _relative(phrase.relative, phrase) if phrase.relative else [])


def noun_phrase(phrase: NounPhrase, case: str) -> list[str]:
    """Determiner, number, adjective and noun in a case, without the relative clause."""
    column = COLUMNS["plural" if phrase.plural else phrase.noun.gender]
    words = _determiner(phrase, case, column)
    words += [german_number(phrase.count)] if phrase.count else []
    if phrase.adjective:
        words.append(phrase.adjective.german.removesuffix("e") + _ending(phrase, case, column))
    return [*words, _noun(phrase, case)]


def _determiner(phrase: NounPhrase, case: str, column: int) -> list[str]:
    if phrase.determiner == "the":
        return [ARTICLES[case].split()[column]]
    if phrase.determiner == "a" and phrase.plural:
        return []
    bare = phrase.determiner in EIN_WORDS and _bare(case, column)
    return [STEMS[phrase.determiner] + ("" if bare else STRONG[case].split()[column])]


def _bare(case: str, column: int) -> bool:
    """Where `ein` has no ending: the adjective then carries the gender (ein alter Hund, ein altes Haus)."""
    return (case == NOMINATIVE and column in (0, 2)) or (case == ACCUSATIVE and column == 2)


def _ending(phrase: NounPhrase, case: str, column: int) -> str:
    alone = phrase.determiner == "a" and phrase.plural
    strong = alone or (phrase.determiner in EIN_WORDS and _bare(case, column))
    return (STRONG if strong else WEAK)[case].split()[column]


def _noun(phrase: NounPhrase, case: str) -> str:
    noun = phrase.noun
    if not phrase.plural:
        return noun.german if case == NOMINATIVE else noun.oblique
    if case == DATIVE and not noun.german_plural.endswith(("n", "s")):
        return noun.german_plural + "n"
    return noun.german_plural


def _relative(relative: Relative, head: NounPhrase) -> list[str]:
    column = COLUMNS["plural" if head.plural else head.noun.gender]
    preposition, case = _role(relative, head)
    pronoun = "denen" if head.plural and case == DATIVE else ARTICLES[case].split()[column]
    opening = [preposition, pronoun] if preposition else [pronoun]
    return [",", *opening, *verb_last(relative.clause, head.plural), ","]


def _role(relative: Relative, head: NounPhrase) -> tuple[str, str]:
    if relative.gap == "subject":
        return "", NOMINATIVE
    if relative.gap == "place":
        return head.noun.at[1:]
    return relative.clause.verb.preposition, relative.clause.verb.case
