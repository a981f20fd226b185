"""Scores of labelled documents, from the probability of each label; the same for models and for baselines.

A document has one label, and targets are (d,) classes; or any number, and targets are (d, k) of 0 and 1.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional import classification as measures

NAMES = ("nll", "accuracy", "f1_micro", "f1_macro", "auroc", "average_precision", "calibration_error")
BINS = 15  # of the calibration error, as in Guo et al. 2017 (arXiv:1706.04599)
EVEN = 0.5
LEAST = 1e-12  # A baseline may hold a label for impossible; its log-likelihood then stays a number.

Targets = Int[np.ndarray, "d"] | Int[np.ndarray, "d k"]


def probabilities(logits: Float[Tensor, "d k"], multilabel: bool) -> Float[Tensor, "d k"]:
    """In float64, where no label of a trained model is quite impossible."""
    wide = logits.double()
    return wide.sigmoid() if multilabel else wide.softmax(-1)


def chosen(found: Float[np.ndarray, "d k"], multilabel: bool) -> Targets:
    """What is said of each document: the likeliest label, or all that are likelier than not."""
    return (found > EVEN).astype(np.int64) if multilabel else found.argmax(-1)


def scores(found: Float[np.ndarray, "d k"], targets: Targets) -> dict[str, float]:
    """Means over documents.

    accuracy: of a document with several labels, all must be right. f1_macro, auroc, average_precision: means over
    labels, of the last two over those that some documents have and some have not; not there where no label is such.
    calibration_error: of the likeliest label, or of all labels alike where there may be several (BINS bins, L1).
    Everything is NaN where a probability is: a training that diverged has no scores.
    """
    found, targets = np.asarray(found, np.float64), np.asarray(targets, np.int64)
    if not np.isfinite(found).all():
        return dict.fromkeys(NAMES, float("nan"))
    given, meant = torch.from_numpy(found), torch.from_numpy(targets)
    measured = _several(given, meant) if targets.ndim == 2 else _one(given, meant)
    return {name: float(value) for name, value in {**measured, **_ranked(found, targets)}.items()}


def threshold(found: Float[np.ndarray, "d k"], targets: Int[np.ndarray, "d k"]) -> float:
    """The probability above which labels are given so that micro-F1 is greatest: one for all, as some labels are rare.

    Halfway between two probabilities that occur; EVEN where nothing is better.
    """
    ranked = np.argsort(-found, axis=None, kind="stable")
    values, hits = found.ravel()[ranked], targets.ravel()[ranked].cumsum()
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + max(targets.sum(), 1))
    f1[:-1][values[:-1] == values[1:]] = 0  # equal probabilities are given or refused together
    best = int(f1.argmax()) if len(f1) else 0
    if not len(f1) or f1[best] <= f1_micro(found, targets, EVEN):
        return EVEN
    return float(values[best : best + 2].mean() if best + 1 < len(values) else values[best] / 2)


def f1_micro(found: Float[np.ndarray, "d k"], targets: Int[np.ndarray, "d k"], above: float) -> float:
    """Over all labels of all documents, where those above a threshold are given."""
    given, meant = torch.from_numpy(found > above).long(), torch.from_numpy(np.asarray(targets, np.int64))
    return float(measures.binary_f1_score(given.flatten(), meant.flatten()))


def f1_by_label(found: Float[np.ndarray, "d k"], targets: Targets) -> Float[np.ndarray, "k"]:
    """0 for a label that is neither given nor meant."""
    given, meant = torch.from_numpy(chosen(found, targets.ndim == 2)), torch.from_numpy(np.asarray(targets, np.int64))
    measure = measures.multilabel_f1_score if targets.ndim == 2 else measures.multiclass_f1_score
    return measure(given, meant, found.shape[1], average=None).numpy()


def confusion(found: Float[np.ndarray, "d k"], classes: Int[np.ndarray, "d"]) -> Int[np.ndarray, "k k"]:
    """Documents by true class (rows) and given class (columns)."""
    given, meant = torch.from_numpy(found.argmax(-1)), torch.from_numpy(np.asarray(classes, np.int64))
    return measures.multiclass_confusion_matrix(given, meant, found.shape[1]).numpy()


def confidence(found: Float[np.ndarray, "d k"], targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that were stated, and 1 where the statement was true: what a reliability diagram shows."""
    if targets.ndim == 2:
        return found.ravel(), np.asarray(targets, np.float64).ravel()
    return found.max(-1), (found.argmax(-1) == targets).astype(np.float64)


def _one(found: Tensor, classes: Tensor) -> dict[str, Tensor]:
    k = found.shape[1]
    own = found.gather(1, classes[:, None]).clamp(min=LEAST)
    return {
        "nll": -own.log().mean(),
        "accuracy": measures.multiclass_accuracy(found, classes, k, average="micro"),
        "f1_micro": measures.multiclass_f1_score(found, classes, k, average="micro"),
        "f1_macro": measures.multiclass_f1_score(found, classes, k, average="macro"),
        "calibration_error": measures.multiclass_calibration_error(found, classes, k, n_bins=BINS),
    }


def _several(found: Tensor, targets: Tensor) -> dict[str, Tensor]:
    k = found.shape[1]
    right = torch.where(targets.bool(), found, 1 - found).clamp(min=LEAST)
    return {
        "nll": -right.log().mean(),
        "accuracy": measures.multilabel_exact_match(found, targets, k),
        "f1_micro": measures.multilabel_f1_score(found, targets, k, average="micro"),
        "f1_macro": measures.multilabel_f1_score(found, targets, k, average="macro"),
        "calibration_error": measures.binary_calibration_error(found.flatten(), targets.flatten(), n_bins=BINS),
    }


def _ranked(found: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    table = targets if targets.ndim == 2 else np.eye(found.shape[1], dtype=np.int64)[targets]
    split = [label for label in range(found.shape[1]) if 0 < table[:, label].sum() < len(table)]

    def mean(measure: Callable[[Tensor, Tensor], Tensor]) -> float:
        columns = ((torch.from_numpy(found[:, n].copy()), torch.from_numpy(table[:, n].copy())) for n in split)
        return float(np.mean([float(measure(given, meant)) for given, meant in columns]))

    ranks = {"auroc": measures.binary_auroc, "average_precision": measures.binary_average_precision}
    return {name: mean(measure) for name, measure in ranks.items()} if split else {}
