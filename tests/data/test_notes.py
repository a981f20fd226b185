"""The generated notes: what they hold, and that nothing but the deciding sentence tells the label."""

import re
import subprocess
import sys
from collections import Counter
from random import Random

import numpy as np
import pytest

from manyheads.data.synthetic.notes import LABELS, findings, notes, sections, words
from manyheads.data.synthetic.notes.findings import DECISIVE, DISTRACTING, FINDINGS, GRADES, SITES
from manyheads.data.synthetic.notes.planting import plant
from manyheads.data.synthetic.notes.writing import Slots, write
from manyheads.errors import UserError

NAMES = [name for names in FINDINGS.values() for name in names]
LABEL_OF = {name: label for label, names in FINDINGS.items() for name in names}
FINDING = rf"(?:{'|'.join(GRADES)}) (?P<name>{'|'.join(NAMES)}) (?:{'|'.join(SITES)})"
ANY = re.compile(FINDING, re.IGNORECASE)


def pattern(templates):
    """Matches each of the sentences, whatever fills their slots."""
    parts = [re.sub(r"\\\{(?!finding)\w+\\\}", r".{1,40}?", re.escape(template)) for template in templates]
    whole = "|".join(part.replace(r"\{finding\}", FINDING.replace("?P<name>", "")) for part in parts)
    return re.compile(whole, re.IGNORECASE)


DECIDES = pattern(DECISIVE)
KINDS = {kind: pattern(getattr(findings, kind)) for kind in ("NEGATED", "HISTORICAL", "FAMILY", "RULED_OUT")}


@pytest.fixture(scope="module")
def made():
    return notes(documents=200, seed=7, length=1500, depth=(0.3, 0.95), noise=0.0)


def rows(made):
    return [row for split in made.values() for row in split]


def sentence_of(row):
    """The deciding sentence, of which there is one."""
    (found,) = DECIDES.finditer(row["text"])
    return found


def labels_in(text):
    """How often each label's findings are named."""
    return Counter(LABEL_OF[found["name"].lower()] for found in ANY.finditer(text))


def test_splits_are_80_10_10_and_even(made):
    assert {name: len(split) for name, split in made.items()} == {"train": 160, "val": 20, "test": 20}
    for split in made.values():
        counts = Counter(row["label"] for row in split)
        assert set(counts) == set(LABELS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_nothing_is_there_twice(made):
    assert len({row["text"] for row in rows(made)}) == len({row["name"] for row in rows(made)}) == 200


def test_the_deciding_finding_is_the_labels_own(made):
    for row in rows(made):
        name = ANY.search(sentence_of(row)[0])["name"].lower()
        assert LABEL_OF[name] == row["label"]


def test_lengths_are_near_what_is_asked(made):
    lengths = [len(row["text"].split()) for row in rows(made)]
    assert np.mean(lengths) == pytest.approx(1500, rel=0.05)
    assert min(lengths) > 0.68 * 1500
    assert max(lengths) < 1.38 * 1500


@pytest.mark.parametrize("depth", [(0.3, 0.95), (0.5, 0.6), (0.0, 1.0), (0.7, 0.7)])
@pytest.mark.parametrize("length", [600, 1500, 5000])
def test_the_depth_is_respected(depth, length):
    at = [sentence_of(row).start() / len(row["text"]) for row in rows(notes(40, 3, length, depth, 0.0))]
    # Nothing is planted into tables, which are a twentieth of a visit.
    slack = 0.001 if depth[0] < depth[1] else 0.05
    assert min(at) >= depth[0] - slack
    assert max(at) <= depth[1] + slack


def test_depths_are_spread_over_the_range():
    at = [sentence_of(row).start() / len(row["text"]) for row in rows(notes(200, 1, 600, (0.3, 0.95), 0.0))]
    shares, _ = np.histogram(at, bins=4, range=(0.3, 0.95))
    assert (shares > 200 / 4 * 0.5).all()


def test_distractors_of_all_kinds_and_labels_are_everywhere(made):
    for kind, found in KINDS.items():
        depths = [hit.start() / len(row["text"]) for row in rows(made) for hit in found.finditer(row["text"])]
        shares, _ = np.histogram(depths, bins=5, range=(0, 1))
        assert (shares > 20).all(), kind
    others = [labels_in(row["text"].replace(sentence_of(row)[0], "")) for row in rows(made)]
    assert all(len(other) >= 2 for other in others)
    own = sum(other[row["label"]] > 0 for row, other in zip(rows(made), others, strict=True))
    assert own > 0.8 * len(others), "the label's own finding is denied too"


def test_every_finding_is_stated_or_denied_by_one_of_the_sentences(made):
    for row in rows(made)[:40]:
        known = sum(len(found.findall(row["text"])) for found in KINDS.values()) + 1
        assert known == len(ANY.findall(row["text"])) == sum(len(re.findall(n, row["text"], re.I)) for n in NAMES)


def planted(label, seed, length=700, depth=(0.4, 0.9)):
    """A note of which all but the label is drawn alike."""
    parts = write(Random(seed), length)
    plant(Random(seed), parts, label, 8, depth)
    return "".join(piece for part in parts for piece in part.pieces())


def test_what_does_not_decide_says_nothing_of_the_label():
    for seed in range(20):
        rest = {tuple(sorted(DECIDES.sub("", planted(label, seed)).split())) for label in LABELS}
        assert len(rest) == 1


def test_the_part_before_the_least_depth_says_nothing_of_the_label():
    for seed in range(20):
        starts = {planted(label, seed)[:1500] for label in LABELS}
        assert len(starts) == 1


def test_no_pair_of_words_joins_a_finding_to_what_is_said_of_it():
    """A word before a finding is a grade and one after it begins a site, whatever the sentence."""
    templates = [*DECISIVE, *(t for kind in DISTRACTING for t in kind)]
    assert all(template.count("{finding}") == 1 for template in templates)
    assert all("finding" not in word for word in words.WORDS)
    spoken = {name.lower() for name in " ".join(NAMES).split()}
    for group in (GRADES, SITES):
        assert not spoken & set(" ".join(group).split())


def test_the_rest_of_a_note_speaks_of_no_finding():
    rest = " ".join(t for s in sections.SECTIONS for t in s.templates) + " ".join(
        w for ws in words.WORDS.values() for w in ws
    )
    strong = {"pneumonia", "embolism", "stroke", "infarction", "thrombosis", "consolidation", "congestion", "failure"}
    strong |= {"confirms", "confirmed", "today", "new", "newly", "onset", "infiltrate", "clot", "dysfunction", "oedema"}
    assert not strong & set(re.findall(r"[a-z]+", rest.lower()))


@pytest.mark.parametrize(("end", "most"), [(None, 0.48), (3000, 0.34)])
def test_counts_of_words_tell_little_and_of_the_beginning_nothing(end, most):
    """Words and pairs of words: 25 % is chance, and 34 % three errors of 200 documents above it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier

    made = notes(1000, 5, 1500, (0.4, 0.95), 0.0)
    train, test = made["train"], made["val"] + made["test"]
    count = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=2000)
    known = count.fit_transform([row["text"][:end] for row in train])
    model = RidgeClassifier(alpha=0.1).fit(known, [row["label"] for row in train])
    asked = count.transform([row["text"][:end] for row in test])
    assert model.score(asked, [row["label"] for row in test]) < most


def test_the_sentences_themselves_tell_everything():
    """What a reader of the whole note could know: the one finding that stands in a deciding sentence."""
    for row in rows(notes(60, 2, 3000, (0.1, 0.9), 0.0)):
        assert LABEL_OF[ANY.search(sentence_of(row)[0])["name"].lower()] == row["label"]


def test_the_same_arguments_give_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from manyheads.data.synthetic.notes import notes\n"
        "print(hashlib.sha256(repr(notes(40, 3, 300, (0.3, 0.9), 0.2)).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_another_seed_gives_other_notes():
    first, second = ({row["text"] for row in rows(notes(40, seed, 300, (0.3, 0.9), 0.0))} for seed in (1, 2))
    assert not first & second


def test_noise_replaces_training_labels_alone():
    clean, noisy = (notes(100, 4, 300, (0.3, 0.9), noise) for noise in (0.0, 0.25))
    assert clean["val"] == noisy["val"]
    assert clean["test"] == noisy["test"]
    assert [row["text"] for row in clean["train"]] == [row["text"] for row in noisy["train"]]
    wrong = sum(a["label"] != b["label"] for a, b in zip(clean["train"], noisy["train"], strict=True))
    assert wrong == 20


def test_a_long_note_is_several_visits():
    (text, *_) = [row["text"] for row in notes(40, 1, 6000, (0.3, 0.9), 0.0)["test"]]
    assert text.count("\nMEDICATIONS\n") == text.count("VISIT ") > 2


def test_every_slot_can_be_filled():
    slots = Slots(Random(0))
    templates = [t for s in sections.SECTIONS for t in s.templates] + [*sections.HEADER]
    for template in templates * 5:
        assert "{" not in slots.sentence(template)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"documents": 10}, "documents=10"),
        ({"length": 20}, "length=20"),
        ({"depth": (0.9, 0.3)}, r"depth=\[0.9, 0.3\]"),
        ({"depth": (0.5,)}, "depth"),
        ({"noise": 1.5}, "noise=1.5"),
    ],
)
def test_arguments_that_make_no_corpus_are_refused_by_name(given, named):
    with pytest.raises(UserError, match=named):
        notes(**{"documents": 40, "seed": 1, "length": 300, "depth": (0.3, 0.9), "noise": 0.0, **given})
