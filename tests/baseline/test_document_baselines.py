"""Baselines of documents, on texts whose answers are known, and on MTSamples where it is there."""

import csv
import gzip
import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from manyheads.baseline.documents import Labelled, baselines, majority, tfidf
from manyheads.task.document_scores import scores

MTSAMPLES = Path(__file__).parents[3] / "shared" / "data" / "clinical" / "mtsamples" / "mtsamples.csv.gz"
FILLER = "the patient came in on a day in spring and was seen by the doctor on the ward "


def labelled(classes, late=False):
    """Class n is told by word n, at the beginning or behind a filler; cuts end before the latter."""
    words = ["fever", "rash", "cough"]
    texts = [FILLER + words[n] if late else words[n] + " " + FILLER for n in classes]
    return Labelled(texts, np.array(classes), [len(FILLER) for _ in classes])


def several(rows):
    words = ["fever", "rash", "cough"]
    texts = [FILLER + " ".join(words[n] for n in np.flatnonzero(row)) for row in rows]
    return Labelled(texts, np.array(rows), [len(text) for text in texts])


def test_words_tell_and_a_beginning_without_them_does_not():
    classes = [0, 1, 2] * 8
    found = baselines(labelled(classes, late=True), {"test": labelled([0, 1, 2], late=True)}, 3)["test"]
    assert found["tfidf"].argmax(1).tolist() == [0, 1, 2]
    assert np.ptp(found["tfidf_512"], axis=0).max() < 1e-9
    early = baselines(labelled(classes), {"test": labelled([2, 0])}, 3)["test"]
    assert early["tfidf_512"].argmax(1).tolist() == [2, 0]


def test_majority_is_the_shares_of_the_training_documents():
    found = majority(np.array([0, 0, 2]), 2, 4)
    assert found.tolist() == [[2 / 3, 0, 1 / 3, 0]] * 2
    assert majority(np.array([[1, 0], [1, 1], [1, 0]]), 1, 2).tolist() == [[1, pytest.approx(1 / 3)]]


def test_a_label_may_come_alone_or_with_others():
    rows = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]] * 6
    found = tfidf(several(rows), {"test": several(rows[:4])}, 3)["test"]
    assert (found > 0.5).astype(int).tolist() == rows[:4]
    assert (found[:, 2] == 0).all(), "a label that no training document has is never given"


def test_labels_that_never_occur_have_probability_zero():
    found = tfidf(labelled([0, 2] * 5), {"test": labelled([0])}, 4)["test"]
    assert found.shape == (1, 4)
    assert found[0, [1, 3]].tolist() == [0, 0]
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("texts", [["", ""], ["one", "two"]])
def test_texts_without_a_common_word_fall_back_on_shares(texts):
    train = Labelled(texts, np.array([0, 1]), [0, 0])
    assert tfidf(train, {"test": train}, 2)["test"].tolist() == [[0.5, 0.5]] * 2


def test_one_class_alone_can_be_trained_on():
    found = baselines(labelled([1] * 4), {"test": labelled([1, 0])}, 3)["test"]
    assert all(given.tolist() == [[0, 1, 0]] * 2 for given in found.values())


def test_the_same_data_gives_the_same_probabilities():
    train, test = labelled([0, 1, 2] * 5), {"test": labelled([0, 1])}
    first, second = (baselines(train, test, 3)["test"] for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_scikit_learn_is_imported_only_when_it_is_needed():
    code = "import sys, manyheads.baseline.documents; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not MTSAMPLES.exists(), reason="needs the shared data")
def test_mtsamples_reaches_what_its_readme_says():
    train, test, labels = mtsamples()
    found = baselines(train, {"test": test}, len(labels))["test"]
    reached = {name: scores(given, test.targets) for name, given in found.items()}
    assert reached["tfidf"]["f1_micro"] == pytest.approx(0.907, abs=0.01)
    assert reached["tfidf"]["f1_macro"] == pytest.approx(0.849, abs=0.01)
    assert reached["majority"]["f1_micro"] < reached["tfidf_512"]["f1_micro"] < reached["tfidf"]["f1_micro"]


def mtsamples():
    """The ten most frequent labels, one document per distinct text, split by its hash."""
    csv.field_size_limit(10**7)
    with gzip.open(MTSAMPLES, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["transcription"]]
    frequent = Counter(row["medical_specialty"].strip() for row in rows).most_common(10)
    labels, of = [name for name, _ in frequent], defaultdict(set)
    for row in rows:
        of[row["transcription"]].add(row["medical_specialty"].strip())
    parts = defaultdict(list)
    for text, own in of.items():
        if own & set(labels):
            parts[int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10].append((text, [n in own for n in labels]))
    train = [pair for place in range(2, 10) for pair in parts[place]]
    return _side(train), _side(parts[0]), labels


def _side(pairs):
    texts = [text for text, _ in pairs]
    return Labelled(texts, np.array([row for _, row in pairs], int), [min(len(text), 1500) for text in texts])
