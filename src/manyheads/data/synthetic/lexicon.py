"""The words, as tables: each English word has one German word, so that a sentence has one translation.

Left out on purpose: English words whose forms coincide (`read` and `put` hide their tense, `sheep` its number)
and `you`, which German renders in three ways.
"""

from manyheads.data.synthetic.entries import (
    ACCUSATIVE,
    DATIVE,
    Adjective,
    Phrase,
    Plain,
    noun_entry,
    rows,
    verb_entry,
)

# english [plural] | German, gender, plural [oblique singular] | kinds
NOUNS = tuple(
    noun_entry(row)
    for row in rows(
        """
    doctor         | Ärztin f Ärztinnen            | person
    nurse          | Pfleger m Pfleger             | person
    teacher        | Lehrer m Lehrer               | person
    neighbour      | Nachbar m Nachbarn Nachbarn   | person
    boy            | Junge m Jungen Jungen         | person
    girl           | Mädchen n Mädchen             | person
    child children | Kind n Kinder                 | person
    baby           | Baby n Babys                  | person
    baker          | Bäcker m Bäcker               | person
    gardener       | Gärtnerin f Gärtnerinnen      | person
    patient        | Patient m Patienten Patienten | person
    student        | Studentin f Studentinnen      | person
    grandmother    | Großmutter f Großmütter       | person
    grandfather    | Großvater m Großväter         | person
    sister         | Schwester f Schwestern        | person
    brother        | Bruder m Brüder               | person
    aunt           | Tante f Tanten                | person
    uncle          | Onkel m Onkel                 | person
    guest          | Gast m Gäste                  | person
    dog            | Hund m Hunde                  | animal
    cat            | Katze f Katzen                | animal
    horse          | Pferd n Pferde                | animal
    bird           | Vogel m Vögel                 | animal singer
    mouse mice     | Maus f Mäuse                  | animal
    donkey         | Esel m Esel                   | animal
    rabbit         | Kaninchen n Kaninchen         | animal
    duck           | Ente f Enten                  | animal
    bear           | Bär m Bären Bären             | animal
    apple          | Apfel m Äpfel                 | food peelable
    pear           | Birne f Birnen                | food peelable
    egg            | Ei n Eier                     | food peelable
    cake           | Kuchen m Kuchen               | food
    carrot         | Karotte f Karotten            | food peelable
    soup           | Suppe f Suppen                | food warmed
    book           | Buch n Bücher                 | thing
    letter         | Brief m Briefe                | thing
    key            | Schlüssel m Schlüssel         | thing
    cup            | Tasse f Tassen                | thing
    umbrella       | Regenschirm m Regenschirme    | thing
    ball           | Ball m Bälle                  | thing toy
    flower         | Blume f Blumen                | thing
    picture        | Bild n Bilder                 | thing hanging
    knife knives   | Messer n Messer               | thing
    basket         | Korb m Körbe                  | thing pack
    parcel         | Paket n Pakete                | thing pack
    suitcase       | Koffer m Koffer               | thing pack opening lockable
    box            | Kiste f Kisten                | thing pack opening lockable
    hat            | Hut m Hüte                    | thing clothing
    coat           | Mantel m Mäntel               | thing clothing hanging
    shirt          | Hemd n Hemden                 | thing clothing hanging
    jacket         | Jacke f Jacken                | thing clothing hanging
    lamp           | Lampe f Lampen                | thing device hanging
    radio          | Radio n Radios                | thing device
    television     | Fernseher m Fernseher         | thing device
    door           | Tür f Türen                   | opening lockable
    window         | Fenster n Fenster             | opening
    gate           | Tor n Tore                    | opening lockable
    cupboard       | Schrank m Schränke            | opening lockable
        """
    )
)

# english | German, gender, plural | kinds | where one is: English, German | where one goes: English, German, case
PLACES = tuple(
    noun_entry(row, (*row[3].split(), DATIVE), tuple(row[4].split()))
    for row in rows(
        """
    garden  | Garten m Gärten    | place      | in in  | into in accusative
    kitchen | Küche f Küchen     | place room | in in  | into in accusative
    park    | Park m Parks       | place      | in in  | into in accusative
    clinic  | Klinik f Kliniken  | place      | in in  | into in accusative
    house   | Haus n Häuser      | place room | in in  | into in accusative
    room    | Zimmer n Zimmer    | place room | in in  | into in accusative
    cellar  | Keller m Keller    | place room | in in  | into in accusative
    forest  | Wald m Wälder      | place      | in in  | into in accusative
    village | Dorf n Dörfer      | place      | in in  | into in accusative
    meadow  | Wiese f Wiesen     | place      | in auf | onto auf accusative
    bridge  | Brücke f Brücken   | place      | on auf | onto auf accusative
    roof    | Dach n Dächer      | place      | on auf | onto auf accusative
    station | Bahnhof m Bahnhöfe | place      | at an  | to zu dative
    river   | Fluss m Flüsse     | place      | at an  | to zu dative
        """
    )
)

# English, past | principal parts (prefix+infinitive, third person, participle) | subjects > objects | allows
INTRANSITIVE = tuple(
    verb_entry(row, "intransitive")
    for row in rows(
        """
    sleep, slept             | schlafen schläft geschlafen         | person animal | place
    work, worked             | arbeiten arbeitet gearbeitet        | person        | manner place
    laugh, laughed           | lachen lacht gelacht                | person        | place
    sing, sang               | singen singt gesungen               | person singer | manner place
    get up, got up           | auf+stehen steht ist gestanden      | person animal | manner
    wake up, woke up         | auf+wachen wacht ist gewacht        | person animal | place
    fall asleep, fell asleep | ein+schlafen schläft ist geschlafen | person animal | place
    arrive, arrived          | an+kommen kommt ist gekommen        | person        | place
    come back, came back     | zurück+kommen kommt ist gekommen    | person animal | manner
    run away, ran away       | weg+laufen läuft ist gelaufen       | person animal | manner
        """
    )
)

MOTION = tuple(
    verb_entry(row, "motion")
    for row in rows(
        """
    go, went | gehen geht ist gegangen  | person animal | manner
    run, ran | rennen rennt ist gerannt | person animal |
        """
    )
)

TRANSITIVE = tuple(
    verb_entry(row, "object", ACCUSATIVE)
    for row in rows(
        """
    see, saw                   | sehen sieht gesehen               | person animal > person animal thing | place
    look for, looked for       | suchen sucht gesucht              | person animal > person animal thing | place
    find, found                | finden findet gefunden            | person animal > animal thing food   | place
    buy, bought                | kaufen kauft gekauft              | person > thing food                 | place
    carry, carried             | tragen trägt getragen             | person > thing food                 | manner
    love, loved                | lieben liebt geliebt              | person animal > person animal place |
    visit, visited             | besuchen besucht besucht          | person > person                     |
    wash, washed               | waschen wäscht gewaschen          | person > clothing animal            | manner place
    repair, repaired           | reparieren repariert repariert    | person > device                     | manner place
    examine, examined          | untersuchen untersucht untersucht | person > person animal              | manner place
    draw, drew                 | zeichnen zeichnet gezeichnet      | person > person animal place        | manner
    feed, fed                  | füttern füttert gefüttert         | person > animal                     | manner place
    peel, peeled               | schälen schält geschält           | person > peelable                   | manner place
    eat, ate                   | essen isst gegessen               | person > food                       | manner place
    call, called               | an+rufen ruft gerufen             | person > person                     |
    pick up, picked up         | ab+holen holt geholt              | person > person thing               |
    invite, invited            | ein+laden lädt geladen            | person > person                     |
    open, opened               | auf+machen macht gemacht          | person animal > opening             | manner
    close, closed              | zu+machen macht gemacht           | person > opening                    | manner
    lock, locked               | ab+schließen schließt geschlossen | person > lockable                   | manner
    turn on, turned on         | ein+schalten schaltet geschaltet  | person > device                     | manner
    take off, took off         | aus+ziehen zieht gezogen          | person > clothing                   | manner
    throw away, threw away     | weg+werfen wirft geworfen         | person > thing food                 |
    eat up, ate up             | auf+essen isst gegessen           | person > food                       | manner
    unpack, unpacked           | aus+packen packt gepackt          | person > pack                       | manner place
    bring along, brought along | mit+bringen bringt gebracht       | person > thing food                 |
    look at, looked at         | an+schauen schaut geschaut        | person animal > animal thing place  |
    lift up, lifted up         | hoch+heben hebt gehoben           | person > thing animal               | manner
    tidy up, tidied up         | auf+räumen räumt geräumt          | person > room                       | manner
    hang up, hung up           | auf+hängen hängt gehängt          | person > hanging                    | manner place
        """
    )
)

DATIVE_VERBS = tuple(
    verb_entry(row, "object", DATIVE)
    for row in rows(
        """
    help, helped           | helfen hilft geholfen          | person > person animal        | place
    thank, thanked         | danken dankt gedankt           | person > person               |
    follow, followed       | folgen folgt ist gefolgt       | person animal > person animal | manner
    trust, trusted         | vertrauen vertraut vertraut    | person animal > person        |
    listen to, listened to | zu+hören hört gehört           | person animal > person        | place
    watch, watched         | zu+sehen sieht gesehen         | person animal > person animal | place
    run after, ran after   | nach+laufen läuft ist gelaufen | person animal > person animal | manner
        """
    )
)

# … | allows | the object's preposition and case
PREPOSITIONAL = tuple(
    verb_entry(row, "preposition")
    for row in rows(
        """
    wait for, waited for   | warten wartet gewartet      | person animal > person animal     | place | auf accusative
    think of, thought of   | denken denkt gedacht        | person > person animal place      |       | an accusative
    dream of, dreamed of   | träumen träumt geträumt     | person > person animal food       | place | von dative
    talk to, talked to     | sprechen spricht gesprochen | person > person animal            | place | mit dative
    play with, played with | spielen spielt gespielt     | person animal > person animal toy | place | mit dative
        """
    )
)

GIVING = tuple(
    verb_entry(row, "giving", ACCUSATIVE)
    for row in rows(
        """
    give, gave            | geben gibt gegeben          | person > thing food |
    show, showed          | zeigen zeigt gezeigt        | person > thing      |
    send, sent            | schicken schickt geschickt  | person > thing      |
    bring, brought        | bringen bringt gebracht     | person > thing food |
    give back, gave back  | zurück+geben gibt gegeben   | person > thing      |
    introduce, introduced | vor+stellen stellt gestellt | person > person     |
        """
    )
)

SAYING = tuple(
    verb_entry(row, "saying")
    for row in rows(
        """
    say, said         | sagen sagt gesagt       | person |
    believe, believed | glauben glaubt geglaubt | person |
    hope, hoped       | hoffen hofft gehofft    | person |
        """
    )
)
(ASK,) = (verb_entry(row, "saying") for row in rows("ask, asked | fragen fragt gefragt | person |"))
WEATHER = tuple(
    verb_entry(row, "weather")
    for row in rows("rain, rained | regnen regnet geregnet ||\nsnow, snowed | schneien schneit geschneit ||")
)
(BE,) = (verb_entry(row, "predicate") for row in rows("be, was | sein ist ist gewesen | person animal thing |"))

ADJECTIVES = tuple(
    Adjective(*row[0].split(), frozenset(row[1].split()))
    for row in rows(
        """
    old alt             | person animal thing opening place
    young jung          | person animal
    small klein         | person animal thing food opening place
    big groß            | animal thing food opening place
    tired müde          | person animal
    friendly freundlich | person animal
    hungry hungrig      | person animal
    happy glücklich     | person
    new neu             | thing opening
    red rot             | thing opening
    blue blau           | thing opening
    white weiß          | animal thing opening
    heavy schwer        | thing
    fresh frisch        | food
    cold kalt           | warmed
    warm warm           | warmed
    beautiful schön     | thing place
    quiet ruhig         | place
        """
    )
)

MANNER = (
    Phrase("carefully", "vorsichtig"),
    Phrase("quietly", "leise"),
    Phrase("quickly", "schnell"),
    Phrase("slowly", "langsam"),
)
FREQUENCY = (
    Phrase("always", "immer"),
    Phrase("often", "oft"),
    Phrase("rarely", "selten"),
    Phrase("sometimes", "manchmal"),
)

PRESENT, PAST = "present", "past"
MODALS = ("will", "can", "must", "should", "want")
TIMES = {
    PRESENT: (Phrase("now", "jetzt"), Phrase("today", "heute"), Phrase("every morning", "jeden Morgen")),
    PAST: (Phrase("yesterday", "gestern"), Phrase("last week", "letzte Woche"), Phrase("on Monday", "am Montag")),
    "later": (Phrase("tomorrow", "morgen"), Phrase("next week", "nächste Woche"), Phrase("today", "heute")),
}

BECAUSE, ALTHOUGH = Phrase("because", "weil"), Phrase("although", "obwohl")
IF, WHEN, WHILE = Phrase("if", "wenn"), Phrase("when", "als"), Phrase("while", "während")
THAT, WHETHER = Phrase("that", "dass"), Phrase("whether", "ob")

PRONOUNS = (
    Plain("I", "ich", 1),
    Plain("I", "ich", 1),  # Twice: no other word takes these verb forms.
    Plain("he", "er"),
    Plain("she", "sie"),
    Plain("we", "wir", 1, True),
    Plain("they", "sie", 3, True),
)
NAMES = tuple(Plain(name, name) for name in ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Jonas"))
IT = Plain("it", "es")

# No one does these at a certain time.
LASTING = ("love", "trust")

VERBS = (*INTRANSITIVE, *MOTION, *TRANSITIVE, *DATIVE_VERBS, *PREPOSITIONAL, *GIVING)
