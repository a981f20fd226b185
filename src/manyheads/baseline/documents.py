"""What documents are labelled as without a transformer, through scikit-learn: the bar for every model.

- majority: the most frequent label, or the labels that more than half of the training documents have, with their shares
  as probabilities.
- tfidf: words, weighed by 1 + log of their count and by their rarity, into logistic regression (C = 10), one against
  the rest where a document may have several labels; there a label's documents and the others weigh the same
  (`class_weight`), else rare ones never reach a probability of one half. Nothing is tuned on the data at hand.
  On the ten most frequent labels of MTSamples: micro-F1 0.91, macro-F1 0.85; word pairs made it 0.89 and 0.80.
- tfidf_512: the same on the beginnings of the documents, which is what a reader of so many tokens sees.

scikit-learn is imported late: it takes a second, and most commands never need it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

C = 10.0
LEAST = 2  # Documents in which a word must be: what occurs in one alone says nothing of others.

Probabilities = Float[np.ndarray, "d k"]


@dataclass(frozen=True)
class Labelled:
    """texts: each with its question before it, where there is one. targets: (d,) classes or (d, k) of 0 and 1.

    cuts: the character at which the beginning of each text ends.
    """

    texts: list[str]
    targets: Int[np.ndarray, "d"] | Int[np.ndarray, "d k"]
    cuts: list[int]

    def beginnings(self) -> "Labelled":
        texts = [text[:cut] for text, cut in zip(self.texts, self.cuts, strict=True)]
        return replace(self, texts=texts)


def baselines(train: Labelled, tests: dict[str, Labelled], labels: int) -> dict[str, dict[str, Probabilities]]:
    """Name of a test set -> name of a baseline -> probability of each label for each of its documents.

    labels: how many there are; one that no training document has gets probability 0.
    """
    starts = {name: test.beginnings() for name, test in tests.items()}
    found = {
        "majority": {name: majority(train.targets, len(test.texts), labels) for name, test in tests.items()},
        "tfidf": tfidf(train, tests, labels),
        "tfidf_512": tfidf(train.beginnings(), starts, labels),
    }
    return {name: {baseline: given[name] for baseline, given in found.items()} for name in tests}


def majority(targets: np.ndarray, documents: int, labels: int) -> Probabilities:
    """The training documents' shares of each label, for every document."""
    one_hot = targets if targets.ndim == 2 else np.eye(labels)[targets]
    return np.tile(one_hot.mean(0), (documents, 1))


def tfidf(train: Labelled, tests: dict[str, Labelled], labels: int) -> dict[str, Probabilities]:
    """Shares instead where the training texts have no word in common."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=LEAST, dtype=np.float32)
    try:
        known = words.fit_transform(train.texts)
    except ValueError:  # an empty vocabulary
        return {name: majority(train.targets, len(test.texts), labels) for name, test in tests.items()}
    asked = {name: words.transform(test.texts) for name, test in tests.items()}
    if train.targets.ndim == 1:
        return _one(known, train.targets, asked, labels)
    columns = [_several(known, column, asked) for column in train.targets.T]
    return {name: np.stack([column[name] for column in columns], 1) for name in tests}


def _one(known, classes: np.ndarray, asked: dict, labels: int) -> dict[str, Probabilities]:
    """Softmax over the classes that occur."""
    if len(np.unique(classes)) < 2:
        return {name: majority(classes, rows.shape[0], labels) for name, rows in asked.items()}
    model = _regression("lbfgs", None).fit(known, classes)
    return {name: _placed(model.predict_proba(rows), model.classes_, labels) for name, rows in asked.items()}


def _several(known, has: np.ndarray, asked: dict) -> dict[str, Float[np.ndarray, "d"]]:
    """One label against the rest."""
    if len(np.unique(has)) < 2:
        return {name: np.full(rows.shape[0], float(has[0])) for name, rows in asked.items()}
    model = _regression("liblinear", "balanced").fit(known, has)
    return {name: model.predict_proba(rows)[:, 1] for name, rows in asked.items()}


def _regression(solver: str, weight: str | None):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, solver=solver, class_weight=weight, max_iter=1000, random_state=0)


def _placed(probabilities: np.ndarray, classes: Iterable[int], labels: int) -> Probabilities:
    """Columns of the classes that occur, among all."""
    placed = np.zeros((len(probabilities), labels))
    placed[:, list(classes)] = probabilities
    return placed
