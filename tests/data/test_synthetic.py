"""The generated corpus: its German is checked by hand-written sentences, the rest by properties of many draws."""

import re
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from manyheads.data.synthetic import corpus, derive, generate, held_out, lexicon
from manyheads.data.synthetic.derivation import Clause, Derivation, NounPhrase, Place, Relative
from manyheads.data.synthetic.english import english
from manyheads.data.synthetic.entries import Phrase, Plain
from manyheads.data.synthetic.german import german, verb_last, verb_second
from manyheads.data.synthetic.grammar import Grammar
from manyheads.data.synthetic.numbers import english_number, german_number
from manyheads.errors import UserError

NOUNS = {noun.english: noun for noun in lexicon.NOUNS + lexicon.PLACES}
VERBS = {verb.english: verb for verb in (*lexicon.VERBS, *lexicon.SAYING, lexicon.ASK, lexicon.BE, *lexicon.WEATHER)}
ADJECTIVES = {adjective.english: adjective for adjective in lexicon.ADJECTIVES}
ADVERBS = {adverb.english: adverb for adverb in lexicon.MANNER + lexicon.FREQUENCY}
ME, SHE, WE = Plain("I", "ich", 1), Plain("she", "sie"), Plain("we", "wir", 1, True)
YESTERDAY, TOMORROW, NOW = Phrase("yesterday", "gestern"), Phrase("tomorrow", "morgen"), Phrase("now", "jetzt")


def np(text: str, relative: Relative | None = None, count: int | None = None) -> NounPhrase:
    """`the old dog`, `a girls` (a bare plural): determiner, adjective if any, noun."""
    determiner, *adjective, noun = text.split()
    plural = noun not in NOUNS
    if plural:
        noun = next(name for name, entry in NOUNS.items() if entry.english_plural == noun)
    return NounPhrase(NOUNS[noun], determiner, plural, ADJECTIVES[adjective[0]] if adjective else None, count, relative)


def clause(subject, verb: str, object_=None, tense: str = "present", **slots) -> Clause:
    """A clause whose noun phrases, verb and adverb are given as text."""
    filled = {key: np(value) if key == "receiver" and isinstance(value, str) else value for key, value in slots.items()}
    if "adverb" in filled:
        filled["adverb"] = ADVERBS[filled["adverb"]]
    phrases = [np(phrase) if isinstance(phrase, str) else phrase for phrase in (subject, object_)]
    return Clause(phrases[0], VERBS[verb], tense, phrases[1], **filled)


def who(verb: str, object_=None, **slots) -> Relative:
    return Relative(clause(None, verb, object_, **slots), "subject")


def whom(subject, verb: str, **slots) -> Relative:
    return Relative(clause(subject, verb, **slots), "object")


def which(subject, verb: str, object_=None, **slots) -> Relative:
    return Relative(clause(subject, verb, object_, **slots), "place")


def at(text: str) -> Place:
    return Place(np(text))


def to(text: str) -> Place:
    return Place(np(text), towards=True)


SLEEPS, RAINS = clause("the boy", "sleep"), clause(lexicon.IT, "rain")
GOLD = [
    # Agreement and weak nouns, in the three cases.
    (Derivation(SLEEPS), "The boy sleeps.", "Der Junge schläft."),
    (Derivation(clause("the boys", "sleep")), "The boys sleep.", "Die Jungen schlafen."),
    (Derivation(clause(ME, "see", "the boy")), "I see the boy.", "Ich sehe den Jungen."),
    (Derivation(clause(WE, "help", "the bear")), "We help the bear.", "Wir helfen dem Bären."),
    # Articles and adjectives: masculine, feminine, neuter, plural in the nominative, accusative, dative.
    (
        Derivation(clause("a old dog", "see", "a small cat")),
        "An old dog sees a small cat.",
        "Ein alter Hund sieht eine kleine Katze.",
    ),
    (
        Derivation(clause("a tired horse", "look for", "a blue key")),
        "A tired horse looks for a blue key.",
        "Ein müdes Pferd sucht einen blauen Schlüssel.",
    ),
    (
        Derivation(clause("a friendly aunt", "find", "a new book")),
        "A friendly aunt finds a new book.",
        "Eine freundliche Tante findet ein neues Buch.",
    ),
    (
        Derivation(clause("the old aunt", "help", "a young guest")),
        "The old aunt helps a young guest.",
        "Die alte Tante hilft einem jungen Gast.",
    ),
    (
        Derivation(clause("this old teacher", "thank", "this friendly student")),
        "This old teacher thanks this friendly student.",
        "Dieser alte Lehrer dankt dieser freundlichen Studentin.",
    ),
    (
        Derivation(clause("my small child", "trust", "our old horse")),
        "My small child trusts our old horse.",
        "Mein kleines Kind vertraut unserem alten Pferd.",
    ),
    (
        Derivation(clause("every big cat", "follow", "the small mice")),
        "Every big cat follows the small mice.",
        "Jede große Katze folgt den kleinen Mäusen.",
    ),
    (
        Derivation(clause("a hungry dogs", "watch", "a young children")),
        "Hungry dogs watch young children.",
        "Hungrige Hunde sehen jungen Kindern zu.",
    ),
    (
        Derivation(clause("this girls", "love", "our old teachers")),
        "These girls love our old teachers.",
        "Diese Mädchen lieben unsere alten Lehrer.",
    ),
    # Number words.
    (
        Derivation(clause(np("a small dogs", count=27), "help", np("a babies", count=21))),
        "Twenty-seven small dogs help twenty-one babies.",
        "Siebenundzwanzig kleine Hunde helfen einundzwanzig Babys.",
    ),
    (
        Derivation(clause("the boy", "be", predicate=Phrase("old", "alt")), "question"),
        "Is the boy old?",
        "Ist der Junge alt?",
    ),
    (
        Derivation(clause("my dogs", "be", tense="past", predicate=Phrase("tired", "müde"))),
        "My dogs were tired.",
        "Meine Hunde waren müde.",
    ),
    # Verb second, separable verbs, the perfect with haben and sein, modals.
    (
        Derivation(clause("the doctor", "call", "the girl")),
        "The doctor calls the girl.",
        "Die Ärztin ruft das Mädchen an.",
    ),
    (
        Derivation(clause("the doctor", "call", "the girl", "past", time=YESTERDAY), "time"),
        "Yesterday the doctor called the girl.",
        "Gestern hat die Ärztin das Mädchen angerufen.",
    ),
    (
        Derivation(clause("the guests", "arrive", tense="past", place=at("the station"), time=YESTERDAY)),
        "The guests arrived at the station yesterday.",
        "Die Gäste sind gestern am Bahnhof angekommen.",
    ),
    (
        Derivation(clause(SHE, "pick up", "a parcel", "want", time=TOMORROW)),
        "She wants to pick up a parcel tomorrow.",
        "Sie will morgen ein Paket abholen.",
    ),
    (
        Derivation(clause("the uncle", "turn on", "the lamp", "want"), "question"),
        "Does the uncle want to turn on the lamp?",
        "Will der Onkel die Lampe einschalten?",
    ),
    (
        Derivation(clause("the child", "open", "the door", "past", adverb="quietly"), "question"),
        "Did the child quietly open the door?",
        "Hat das Kind die Tür leise aufgemacht?",
    ),
    (
        Derivation(clause("the child", "open", "a door", "must", adverb="quietly")),
        "The child must quietly open a door.",
        "Das Kind muss leise eine Tür aufmachen.",
    ),
    # Two objects; a receiver with a clause of its own.
    (
        Derivation(clause("the grandmother", "give", "a pear", "past", receiver="the child")),
        "The grandmother gave a pear to the child.",
        "Die Großmutter hat dem Kind eine Birne gegeben.",
    ),
    (
        Derivation(clause(ME, "introduce", "the guest", receiver=np("the baker", who("sing")))),
        "I introduce the guest to the baker who sings.",
        "Ich stelle dem Bäcker, der singt, den Gast vor.",
    ),
    # Place and direction: dative and accusative, with and without contraction.
    (
        Derivation(clause("the cat", "sleep", place=at("the garden"), adverb="often")),
        "The cat often sleeps in the garden.",
        "Die Katze schläft oft im Garten.",
    ),
    (
        Derivation(clause("the cat", "go", tense="past", place=to("the garden"), adverb="slowly")),
        "The cat slowly went into the garden.",
        "Die Katze ist langsam in den Garten gegangen.",
    ),
    (
        Derivation(clause("the dogs", "run", place=to("the house"), time=NOW), "time"),
        "Now the dogs run into the house.",
        "Jetzt rennen die Hunde ins Haus.",
    ),
    (
        Derivation(clause("the bear", "go", tense="will", place=to("the river"))),
        "The bear will go to the river.",
        "Der Bär wird zum Fluss gehen.",
    ),
    (
        Derivation(clause("a bird", "sing", place=at("our roofs"))),
        "A bird sings on our roofs.",
        "Ein Vogel singt auf unseren Dächern.",
    ),
    # A known object stands before adverb and place, a new one behind both; a dative one never behind the place.
    (
        Derivation(clause("the boy", "feed", "our cat", "past", adverb="quietly", place=at("the kitchen"))),
        "The boy quietly fed our cat in the kitchen.",
        "Der Junge hat unsere Katze leise in der Küche gefüttert.",
    ),
    (
        Derivation(clause("the boy", "feed", "a cat", "past", adverb="quietly", place=at("the kitchen"))),
        "The boy quietly fed a cat in the kitchen.",
        "Der Junge hat leise in der Küche eine Katze gefüttert.",
    ),
    (
        Derivation(clause("the boy", "help", "a sister", adverb="often", place=at("the kitchen"))),
        "The boy often helps a sister in the kitchen.",
        "Der Junge hilft oft einer Schwester in der Küche.",
    ),
    # Prepositional objects.
    (
        Derivation(clause("the neighbour", "wait for", "our neighbour")),
        "The neighbour waits for our neighbour.",
        "Der Nachbar wartet auf unseren Nachbarn.",
    ),
    (
        Derivation(clause("the nurses", "dream of", "the cake")),
        "The nurses dream of the cake.",
        "Die Pfleger träumen vom Kuchen.",
    ),
    # Subordinate clauses: the verb last, the main clause inverted behind them.
    (
        Derivation(clause(Plain("Anna", "Anna"), "get up"), "clause", lexicon.BECAUSE, RAINS),
        "Because it rains, Anna gets up.",
        "Weil es regnet, steht Anna auf.",
    ),
    (
        Derivation(clause("the girl", "say"), "subject", lexicon.THAT, clause("the boy", "call", "the aunt")),
        "The girl says that the boy calls the aunt.",
        "Das Mädchen sagt, dass der Junge die Tante anruft.",
    ),
    (
        Derivation(clause(ME, "ask"), "subject", lexicon.WHETHER, clause("the guests", "arrive", tense="past")),
        "I ask whether the guests arrived.",
        "Ich frage, ob die Gäste angekommen sind.",
    ),
    (
        Derivation(SLEEPS, "subject", lexicon.ALTHOUGH, clause("a birds", "sing", tense="want")),
        "The boy sleeps although birds want to sing.",
        "Der Junge schläft, obwohl Vögel singen wollen.",
    ),
    (
        Derivation(clause(WE, "laugh", tense="can"), "clause", lexicon.IF, clause("the baby", "fall asleep")),
        "If the baby falls asleep, we can laugh.",
        "Wenn das Baby einschläft, können wir lachen.",
    ),
    (
        Derivation(
            clause("the cat", "wake up", tense="past"),
            "clause",
            lexicon.WHEN,
            clause("the dog", "come back", tense="past"),
        ),
        "When the dog came back, the cat woke up.",
        "Als der Hund zurückgekommen ist, ist die Katze aufgewacht.",
    ),
    # Relative clauses: nominative, accusative, dative, with preposition, of each gender; moved behind the verb; nested.
    (
        Derivation(clause(np("the dog", whom("the boy", "see")), "sleep")),
        "The dog that the boy sees sleeps.",
        "Der Hund, den der Junge sieht, schläft.",
    ),
    (
        Derivation(clause(np("the student", whom(ME, "help")), "be", predicate=Phrase("happy", "glücklich"))),
        "The student whom I help is happy.",
        "Die Studentin, der ich helfe, ist glücklich.",
    ),
    (
        Derivation(clause(np("the children", whom("the aunt", "help", tense="past")), "work")),
        "The children whom the aunt helped work.",
        "Die Kinder, denen die Tante geholfen hat, arbeiten.",
    ),
    (
        Derivation(clause("the doctor", "call", np("the girl", who("laugh")))),
        "The doctor calls the girl who laughs.",
        "Die Ärztin ruft das Mädchen an, das lacht.",
    ),
    (
        Derivation(clause("the doctor", "invite", np("the baker", whom("the cat", "wait for")), "past")),
        "The doctor invited the baker whom the cat waits for.",
        "Die Ärztin hat den Bäcker eingeladen, auf den die Katze wartet.",
    ),
    (
        Derivation(clause("the bear", "sleep", place=Place(np("the house", which("a mouse", "sleep"))))),
        "The bear sleeps in the house in which a mouse sleeps.",
        "Der Bär schläft in dem Haus, in dem eine Maus schläft.",
    ),
    (
        Derivation(
            clause(
                "the uncle", "see", np("the dog", who("look for", np("the cat", who("sleep", place=at("the kitchen")))))
            )
        ),
        "The uncle sees the dog that looks for the cat that sleeps in the kitchen.",
        "Der Onkel sieht den Hund, der die Katze sucht, die in der Küche schläft.",
    ),
    (
        Derivation(clause(np("the dog", whom(np("the boy", who("work")), "feed")), "come back")),
        "The dog that the boy who works feeds comes back.",
        "Der Hund, den der Junge, der arbeitet, füttert, kommt zurück.",
    ),
]


@pytest.mark.parametrize(("derivation", "source", "target"), GOLD, ids=[source for _, source, _ in GOLD])
def test_gold(derivation, source, target):
    assert english(derivation) == source
    assert german(derivation) == target


def test_definite_articles_of_every_gender_and_case():
    objects = {"see": ["den Hund", "die Katze", "das Pferd"], "help": ["dem Hund", "der Katze", "dem Pferd"]}
    for verb, phrases in objects.items():
        for noun, phrase in zip(("dog", "cat", "horse"), phrases, strict=True):
            assert phrase in german(Derivation(clause(ME, verb, f"the {noun}")))


def test_relative_pronouns_of_every_gender_and_case():
    pronouns = {"dog": ("der", "den", "dem"), "cat": ("die", "die", "der"), "horse": ("das", "das", "dem")}
    pronouns["dogs"] = ("die", "die", "denen")
    for noun, expected in pronouns.items():
        clauses = (who("sleep"), whom(ME, "see"), whom(ME, "help"))
        texts = [german(Derivation(clause(np(f"the {noun}", relative), "sleep"))) for relative in clauses]
        assert tuple(text.split(", ")[1].split()[0] for text in texts) == expected


def test_number_words():
    assert len({german_number(n) for n in range(1, 100)}) == len({english_number(n) for n in range(1, 100)}) == 99
    known = {1: "eins", 12: "zwölf", 16: "sechzehn", 17: "siebzehn", 21: "einundzwanzig", 27: "siebenundzwanzig"}
    known |= {30: "dreißig", 66: "sechsundsechzig", 71: "einundsiebzig", 77: "siebenundsiebzig", 99: "neunundneunzig"}
    assert {n: german_number(n) for n in known} == known
    assert (english_number(40), english_number(58)) == ("forty", "fifty-eight")


@pytest.fixture(scope="module")
def drawn() -> list[Derivation]:
    grammar = Grammar(Random(11))
    return [grammar.derivation() for _ in range(6000)]


def phrases_in(found: Clause):
    """Every noun phrase of a clause and of the clauses inside it."""
    for phrase in (found.subject, found.object, found.receiver, found.place and found.place.where):
        if isinstance(phrase, NounPhrase):
            yield phrase
            if phrase.relative:
                yield from phrases_in(phrase.relative.clause)


def clauses_of(derivation: Derivation) -> list[Clause]:
    return [found for found in (derivation.main, derivation.subordinate) if found]


def phrases_of(drawn: list[Derivation]) -> list[NounPhrase]:
    return [phrase for derivation in drawn for found in clauses_of(derivation) for phrase in phrases_in(found)]


FINITE = {verb.prefix + form for verb in VERBS.values() for form in (verb.third, verb.infinitive)}
FINITE |= {verb.prefix + verb.infinitive.removesuffix("en") + "e" for verb in VERBS.values()} | {"füttere"}
FINITE |= set(
    [
        "habe",
        "hat",
        "haben",
        "bin",
        "ist",
        "sind",
        "war",
        "waren",
        "werde",
        "wird",
        "werden",
        "kann",
        "können",
        "muss",
        "müssen",
    ]
)
FINITE |= set(["sollte", "sollten", "will", "wollen"])


def test_verb_last_in_relative_and_subordinate_clauses(drawn):
    bare = [(r.clause, p.plural) for p in phrases_of(drawn) if (r := p.relative) and not list(nested(r.clause))]
    bare += [(d.subordinate, False) for d in drawn if d.subordinate and not list(nested(d.subordinate))]
    assert len(bare) > 1000
    for found, plural in bare:
        assert verb_last(found, plural)[-1] in FINITE


def nested(found: Clause):
    return (phrase for phrase in phrases_in(found) if phrase.relative)


def test_a_sentence_that_ends_in_a_clause_ends_in_its_finite_verb(drawn):
    last = [d for d in drawn if d.subordinate and d.front == "subject" and not list(nested(d.subordinate))]
    last += [d for d in drawn if not d.subordinate and ends_in_relative(d.main)]
    assert len(last) > 1000
    for derivation in last:
        assert corpus.word_forms(german(derivation))[-1] in FINITE, german(derivation)


def ends_in_relative(main: Clause) -> bool:
    """Whether the only object or place has a relative clause, and that clause none of its own."""
    phrases = [phrase for phrase in (main.object, main.place and main.place.where) if phrase]
    if len(phrases) != 1 or main.receiver or main.adverb or not isinstance(phrases[0], NounPhrase):
        return False
    relative = phrases[0].relative
    return relative is not None and not list(nested(relative.clause))


def test_the_relative_clause_of_a_subject_stands_between_commas(drawn):
    found = [
        (d, s.relative) for d in drawn if d.front == "subject" and (s := d.main.subject) and not isinstance(s, Plain)
    ]
    bare = [(d, relative) for d, relative in found if relative and not list(nested(relative.clause))]
    assert len(bare) > 300
    for derivation, _ in bare:
        inner = german(derivation).split(", ")[1]
        assert inner.split()[-1] in FINITE, german(derivation)


def test_separable_prefix_closes_the_main_clause(drawn):
    mains = [d.main for d in drawn if d.main.verb.prefix and d.main.tense == "present"]
    mains = [main for main in mains if not list(nested(main))]
    assert len(mains) > 100
    for main in mains:
        words = verb_second(main, "subject")
        assert words[-1] == main.verb.prefix
        assert not any(word.startswith(main.verb.prefix + main.verb.third) for word in words)


def test_nesting_reaches_two_and_no_more(drawn):
    def depth(phrase):
        inner = phrase.relative and phrases_in(phrase.relative.clause)
        return 1 + max(map(depth, inner), default=0) if inner else 0

    assert {depth(phrase) for phrase in phrases_of(drawn)} == {0, 1, 2}


def test_one_english_sentence_has_one_german(drawn):
    found = {}
    for derivation in drawn:
        assert found.setdefault(english(derivation), german(derivation)) == german(derivation)


def test_sentences_are_well_formed(drawn):
    for derivation in drawn:
        for text in (english(derivation), german(derivation)):
            assert re.fullmatch(r"[A-ZÄÖÜ][^.?]*[^,.? ][.?]", text)
            assert not re.search(r"  | ,|,,|,\S", text)


def test_the_lexicon_has_one_german_word_per_english_word():
    for entries in (NOUNS.values(), lexicon.ADJECTIVES):
        assert max(Counter(entry.german for entry in entries).values()) == 1
    english_words = [verb.english for verb in (*lexicon.VERBS, *lexicon.SAYING, lexicon.ASK)]
    german_verbs = [(v.prefix + v.infinitive, v.preposition) for v in (*lexicon.VERBS, *lexicon.SAYING, lexicon.ASK)]
    assert len(set(english_words)) == len(english_words) == len(set(german_verbs))
    assert all(verb.english != verb.english_past for verb in VERBS.values())
    assert all(noun.english != noun.english_plural for noun in NOUNS.values())


@pytest.fixture(scope="module")
def splits():
    return derive(4000, 5)


def test_sizes(splits):
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 4000,
        "val": 200,
        "test": 200,
        "test_compositional": 200,
    }


def test_no_sentence_is_there_twice(splits):
    pairs = [pair for found in splits.values() for pair in found]
    assert len({pair.english for pair in pairs}) == len({pair.german for pair in pairs}) == len(pairs)


def test_held_out_combinations_are_in_test_compositional_alone(splits):
    held = held_out(5)
    assert {combination[0] for combination in held} == {"object", "adjective", "relative"}
    for name in ("train", "val", "test"):
        assert not any(pair.derivation.combinations() & held for pair in splits[name])
    asked = [pair.derivation.combinations() & held for pair in splits["test_compositional"]]
    assert all(asked)
    assert {combination[0] for found in asked for combination in found} == {"object", "adjective", "relative"}


def test_the_parts_of_held_out_combinations_are_in_train(splits):
    words = {word for pair in splits["train"] for side in pair[1:] for word in corpus.word_forms(side)}
    assert all(set(corpus.word_forms(s)) <= words for pair in splits["test_compositional"] for s in pair[1:])
    train = [pair.derivation for pair in splits["train"]]
    met = {part for derivation in train for found in derivation.combinations() for part in found}
    met |= {found.verb.english for derivation in train for found in clauses_of(derivation)}
    asked = [pair.derivation.combinations() & held_out(5) for pair in splits["test_compositional"]]
    assert {part for found in asked for combination in found for part in combination} <= met


def test_combinations_see_through_relative_clauses():
    inner = whom(np("the dog"), "see")
    found = Derivation(clause("the boy", "call", np("the old aunt", inner))).combinations()
    assert found == {
        ("object", "call", "aunt"),
        ("adjective", "old", "aunt"),
        ("relative", "see"),
        ("object", "see", "aunt"),
    }


def test_other_seeds_differ():
    one, other = generate(500, 1), generate(500, 2)
    assert one != other
    assert held_out(1) != held_out(2)


def test_same_numbers_same_corpus_in_another_process():
    code = "import hashlib; from manyheads.data.synthetic import generate; "
    code += "print(hashlib.sha256(repr(generate(500, 3)).encode()).hexdigest())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""


@pytest.mark.parametrize("pairs", [-1, 0, corpus.SMALLEST - 1, corpus.LARGEST + 1, 10**15])
def test_too_many_or_too_few_pairs_are_refused(pairs):
    with pytest.raises(UserError, match=str(corpus.LARGEST)):
        generate(pairs, 0)


def test_the_search_ends_when_nothing_new_comes():
    with pytest.raises(UserError, match="0 of 3"):
        corpus._take(iter([None] * 10**5), 3, lambda pair: True)
