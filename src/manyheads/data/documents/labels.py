"""Labels as the training documents have them, and every document's answer as numbers."""

import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np

from manyheads.data.documents.documents import Documents
from manyheads.data.pairs import settle
from manyheads.errors import UserError

log = logging.getLogger(__name__)

CLASSES = 20  # labels that may be of a document each: so few can be meant, in a trial with few documents


def merge(documents: Documents) -> Documents:
    """Rows that repeat the same text and question become one document with all their labels."""
    first: dict[tuple, int] = {}
    union: dict[int, set[str]] = {}
    for number, key in enumerate(zip(documents.digests, documents.questions, strict=True)):
        union.setdefault(first.setdefault(key, number), set()).update(documents.labels[number])
    kept = documents.take(list(union))
    kept.labels[:] = [tuple(sorted(labels)) for labels in union.values()]
    return kept


def report_repeats(name: str, documents: Documents) -> None:
    """Warns of rows of one split that repeat a text with its question, and whether they contradict each other."""
    seen: dict[tuple, int] = {}
    repeats = []
    for number, key in enumerate(zip(documents.digests, documents.questions, strict=True)):
        if seen.setdefault(key, number) != number:
            repeats.append((seen[key], number))
    if not repeats:
        return
    contrary = sum(documents.labels[a] != documents.labels[b] for a, b in repeats)
    hint = "; data.multilabel=true makes one document of them" if contrary else ""
    a, b = repeats[0]
    log.warning(
        "%s: %s of %s documents repeat an earlier text, %s of them with another label, such as %s and %s%s",
        name, f"{len(repeats):,}", f"{len(documents):,}", f"{contrary:,}", documents.where(a), documents.where(b), hint,
    )  # fmt: skip


@dataclass(frozen=True)
class Labelling:
    """Which labels count; keys as in conf/data/clinical_long.yaml."""

    label: str
    multilabel: bool
    most_frequent: int | None
    unlabelled: str
    on_bad_row: str

    def check(self) -> None:
        """Raises UserError where keys contradict each other."""
        if self.unlabelled == "keep" and not self.multilabel:
            raise UserError("data.unlabelled=keep is for data.multilabel=true: else a document has exactly one label.")

    def one_each(self, splits: dict[str, Documents]) -> dict[str, Documents]:
        """Where a document may have several labels, rows of the same text are one document."""
        return {name: merge(documents) for name, documents in splits.items()} if self.multilabel else splits

    def choose(self, train: Documents) -> tuple[str, ...]:
        """The labels of the training documents, in order; only the most frequent ones where a number is given.

        Raises UserError where they are fewer than two, or so many that they are measures or names.
        """
        counts = Counter(label for labels in train.labels for label in labels)
        if self.most_frequent is None:
            self._check_classes(train, counts)
        ranked = sorted(counts, key=lambda label: (-counts[label], label))[: self.most_frequent]
        if len(ranked) < 2:
            shown = ", ".join(ranked) or "none"
            raise UserError(
                f"The {len(train):,} training documents have too few labels to tell apart ({shown}); data.label="
                f"{self.label} has to name two or more."
            )
        return tuple(sorted(ranked, key=_order))

    def _check_classes(self, train: Documents, counts: Counter) -> None:
        """By how often labels are given, not by documents: codes may well outnumber documents that have many each."""
        if len(counts) > max(CLASSES, counts.total() / 2):
            raise UserError(
                f"data.label={self.label} names no column of classes: the {len(train):,} training documents have "
                f"{len(counts):,} different values, such as {min(counts)}; name another, or put them into classes."
            )

    def settle(self, name: str, documents: Documents, labels: tuple[str, ...]) -> Documents:
        """Documents of one split with those of their labels that count, and without those that have none of them.

        Raises UserError at a label that was never seen in training, unless `on_bad_row` is skip. Where the most
        frequent labels are asked for, others are no fault and are left out.
        """
        known = set(labels)
        strange = [] if self.most_frequent else [n for n, of in enumerate(documents.labels) if not known.issuperset(of)]
        settle([_name_strange(documents, n, known) for n in strange], len(documents), self.on_bad_row)
        own = [tuple(label for label in labels if label in of) for of in map(set, documents.labels)]
        bare = {n for n, of in enumerate(own) if not of and self.unlabelled != "keep"} - set(strange)
        if bare:
            log.info(
                "%s: %s of %s documents have none of the labels, left out", name, f"{len(bare):,}", f"{len(own):,}"
            )
        left = sorted(set(range(len(own))) - set(strange) - bare)
        if not left:
            raise UserError(f"No document is left for {name}; bring more of them, or a file for each split.")
        kept = documents.take(left)
        kept.labels[:] = [own[n] for n in left]
        return kept


def targets(documents: Documents, labels: tuple[str, ...], multilabel: bool) -> np.ndarray:
    """(d,) classes, or (d, classes) of 0 and 1."""
    number = {label: place for place, label in enumerate(labels)}
    if not multilabel:
        return np.array([number[of[0]] for of in documents.labels], np.int64)
    table = np.zeros((len(documents), len(labels)), np.int8)
    for row, of in zip(table, documents.labels, strict=True):
        row[[number[label] for label in of]] = 1
    return table


def _name_strange(documents: Documents, number: int, known: set[str]) -> str:
    strange = ", ".join(label for label in documents.labels[number] if label not in known)
    return f"{documents.where(number)}: the label {strange} was never seen in training"


def _order(label: str) -> tuple:
    """Numbers by their size, before words."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
