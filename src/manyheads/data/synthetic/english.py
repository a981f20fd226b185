"""A derivation in English: subject, verb, object, place, time; only questions and modals move a verb."""

from manyheads.data.synthetic.derivation import Clause, Derivation, NounPhrase, Relative
from manyheads.data.synthetic.entries import Plain, Verb, third_person
from manyheads.data.synthetic.lexicon import BE, PAST, PRESENT
from manyheads.data.synthetic.numbers import english_number
from manyheads.data.synthetic.punctuation import sentence


def english(derivation: Derivation) -> str:
    """The English sentence of a derivation, with capital and full stop."""
    main, question = derivation.main, derivation.front == "question"
    words = ask(main) if question else tell(main, time_first=derivation.front == "time")
    if derivation.subordinate:
        clause = [derivation.conjunction.english, *tell(derivation.subordinate)]
        words = [*clause, ",", *words] if derivation.front == "clause" else words + clause
    return sentence(words, "?" if question else ".")


def tell(clause: Clause, time_first: bool = False, person: int = 3, plural: bool = False) -> list[str]:
    """The clause as a statement; person and plural are the head's where the subject is a gap."""
    subject = clause.subject
    person, plural = (subject.person, subject.plural) if subject else (person, plural)
    helper, verb = verb_words(clause, person, plural)
    words = [*_phrase(subject), *helper, *_adverb(clause), *verb, *_rest(clause)]
    time = [clause.time.english] if clause.time else []
    return time + words if time_first else words + time


def ask(clause: Clause) -> list[str]:
    """The clause as a question: its helping verb first, a form of `do` where it has none."""
    person, plural = clause.subject.person, clause.subject.plural
    helper, verb = verb_words(clause, person, plural)
    if clause.tense == "want" or not helper:
        base = ["want", "to", clause.verb.english] if clause.tense == "want" else [clause.verb.english]
        does = "do" if plural or person == 1 else "does"
        helper, verb = ["did" if clause.tense == PAST else does], base
    time = [clause.time.english] if clause.time else []
    return [*helper, *_phrase(clause.subject), *_adverb(clause), *verb, *_rest(clause), *time]


def verb_words(clause: Clause, person: int, plural: bool) -> tuple[list[str], list[str]]:
    """The words before the adverb (a helping verb, a form of be) and those after it."""
    verb, third = clause.verb, person == 3 and not plural
    if clause.tense == "want":
        return ["wants" if third else "want", "to"], [verb.english]
    if clause.tense not in (PRESENT, PAST):
        return [clause.tense], [verb.english]
    if verb is BE:
        return [_be(clause.tense, person, plural)], []
    return [], [_finite(verb, clause.tense, third)]


def _finite(verb: Verb, tense: str, third: bool) -> str:
    if tense == PAST:
        return verb.english_past
    return third_person(verb.english) if third else verb.english


def _be(tense: str, person: int, plural: bool) -> str:
    if tense == PAST:
        return "were" if plural else "was"
    return "are" if plural else {1: "am", 3: "is"}[person]


def _rest(clause: Clause) -> list[str]:
    words = _phrase(clause.object)
    if clause.receiver:
        words += ["to", *_phrase(clause.receiver)]
    if clause.place:
        noun = clause.place.where.noun
        words += [(noun.to if clause.place.towards else noun.at)[0], *_phrase(clause.place.where)]
    return words + ([clause.predicate.english] if clause.predicate else [])


def _adverb(clause: Clause) -> list[str]:
    return [clause.adverb.english] if clause.adverb else []


def _phrase(phrase: NounPhrase | Plain | None) -> list[str]:
    if phrase is None:
        return []
    if isinstance(phrase, Plain):
        return [phrase.english]
    words = [english_number(phrase.count)] if phrase.count else []
    words += [phrase.adjective.english] if phrase.adjective else []
    words.append(phrase.noun.english_plural if phrase.plural else phrase.noun.english)
    return [*_determiner(phrase, words[0]), *words, *_relative(phrase.relative, phrase)]


def _determiner(phrase: NounPhrase, following: str) -> list[str]:
    if phrase.determiner == "a":
        return [] if phrase.plural else ["an" if following[0] in "aeiou" else "a"]
    return ["these" if phrase.determiner == "this" and phrase.plural else phrase.determiner]


def _relative(relative: Relative | None, head: NounPhrase) -> list[str]:
    if relative is None:
        return []
    if relative.gap == "place":
        pronoun = [head.noun.at[0], "which"]
    elif head.noun.person:
        pronoun = ["who" if relative.gap == "subject" else "whom"]
    else:
        pronoun = ["that"]
    return [*pronoun, *tell(relative.clause, plural=head.plural)]
