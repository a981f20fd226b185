"""Scores, thresholds and figures of labelled documents, against scikit-learn and plain definitions."""

import numpy as np
import pytest
import sklearn.metrics as sk
import torch

from manyheads.task import document_scores
from manyheads.task.document_figures import figures

LABELS = ("a", "b", "c", "d")


def drawn(multilabel, documents=60, seed=0):
    """Probabilities that know a little, and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(documents, 4, generator=generator)
    if multilabel:
        targets = (torch.rand(documents, 4, generator=generator) < 0.4).long()
        logits += targets
    else:
        targets = torch.randint(0, 4, (documents,), generator=generator)
        logits[torch.arange(documents), targets] += 1
    return document_scores.probabilities(logits, multilabel).numpy(), targets.numpy()


def binned(stated, true, bins):
    """Expected calibration error by its definition."""
    part = np.minimum((stated * bins).astype(int), bins - 1)
    gaps = [abs(stated[part == b].mean() - true[part == b].mean()) * (part == b).mean() for b in set(part)]
    return sum(gaps)


def test_scores_of_one_label_are_scikit_learns():
    found, targets = drawn(multilabel=False)
    said, ours = found.argmax(1), document_scores.scores(found, targets)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(targets, said))
    assert ours["f1_micro"] == pytest.approx(sk.f1_score(targets, said, average="micro"))
    assert ours["f1_macro"] == pytest.approx(sk.f1_score(targets, said, average="macro"))
    assert ours["auroc"] == pytest.approx(sk.roc_auc_score(targets, found, multi_class="ovr", average="macro"))
    assert ours["average_precision"] == pytest.approx(sk.average_precision_score(targets, found), abs=1e-6)
    assert ours["nll"] == pytest.approx(sk.log_loss(targets, found))
    assert ours["calibration_error"] == pytest.approx(binned(found.max(1), said == targets, 15), abs=1e-6)
    assert set(ours) == set(document_scores.NAMES)


def test_scores_of_several_labels_are_scikit_learns():
    found, targets = drawn(multilabel=True)
    said, ours = found > 0.5, document_scores.scores(found, targets)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(targets, said))
    assert ours["f1_micro"] == pytest.approx(sk.f1_score(targets, said, average="micro"))
    assert ours["f1_macro"] == pytest.approx(sk.f1_score(targets, said, average="macro"))
    assert ours["auroc"] == pytest.approx(sk.roc_auc_score(targets, found, average="macro"), abs=1e-6)
    assert ours["average_precision"] == pytest.approx(sk.average_precision_score(targets, found), abs=1e-6)
    expected = np.mean([sk.log_loss(targets[:, n], found[:, n]) for n in range(4)])
    assert ours["nll"] == pytest.approx(expected)
    assert ours["calibration_error"] == pytest.approx(binned(found.ravel(), targets.ravel(), 15), abs=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_labels_that_cannot_be_ranked_are_left_out(multilabel):
    found, targets = drawn(multilabel)
    if multilabel:
        targets[:, 2] = 0
        expected = np.mean([sk.roc_auc_score(targets[:, n], found[:, n]) for n in (0, 1, 3)])
    else:
        targets[targets == 2] = 0
        expected = np.mean([sk.roc_auc_score(targets == n, found[:, n]) for n in (0, 1, 3)])
    assert document_scores.scores(found, targets)["auroc"] == pytest.approx(expected, abs=1e-6)
    alone = document_scores.scores(found[:1], targets[:1])
    assert "auroc" not in alone
    assert "average_precision" not in alone
    assert np.isfinite(list(alone.values())).all()


def test_what_diverged_has_no_scores():
    found, targets = drawn(multilabel=False)
    found[3, 1] = np.nan
    assert all(np.isnan(value) for value in document_scores.scores(found, targets).values())


def test_an_impossible_label_that_is_true_costs_a_finite_number():
    found = document_scores.probabilities(torch.tensor([[0.0, 5000.0]]), multilabel=False).numpy()
    assert np.isfinite(document_scores.scores(found, np.array([0]))["nll"])
    found = document_scores.probabilities(torch.tensor([[-5000.0, 5000.0]]), multilabel=True).numpy()
    assert np.isfinite(document_scores.scores(found, np.array([[1, 0]]))["nll"])


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_gives_a_better_f1(seed):
    found, targets = drawn(multilabel=True, seed=seed)
    found = found**2 / 2  # too timid: one half is far from best
    above = document_scores.threshold(found, targets)
    best = max(sk.f1_score(targets, found > at, average="micro") for at in [0, *np.unique(found)[::8]])
    assert document_scores.f1_micro(found, targets, above) >= best - 1e-6
    assert above not in found


def test_the_threshold_parts_no_equal_probabilities():
    found, targets = np.array([[0.4], [0.4], [0.4], [0.1]]), np.array([[1], [0], [1], [0]])
    assert document_scores.threshold(found, targets) == pytest.approx(0.25)


def test_the_threshold_stays_where_nothing_is_better():
    found = np.array([[0.9, 0.2], [0.1, 0.7]])
    assert document_scores.threshold(found, np.array([[1, 0], [0, 1]])) == 0.5
    assert document_scores.threshold(found, np.zeros((2, 2), int)) == 0.5
    assert document_scores.threshold(np.zeros((0, 2)), np.zeros((0, 2), int)) == 0.5


def test_one_threshold_where_all_labels_are_meant():
    found, targets = np.array([[0.2], [0.3]]), np.array([[1], [1]])
    assert document_scores.f1_micro(found, targets, document_scores.threshold(found, targets)) == 1


def test_confusion_counts_true_labels_in_rows():
    found = np.eye(4)[[0, 1, 1]]
    counts = document_scores.confusion(found, np.array([0, 0, 1]))
    assert counts[0].tolist() == [1, 1, 0, 0]
    assert counts[1].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("multilabel", [False, True])
def test_figures_can_be_drawn(multilabel, tmp_path):
    found, targets = drawn(multilabel)
    made = figures(found, targets, LABELS)
    assert set(made) == {"labels" if multilabel else "confusion", "reliability"}
    for name, figure in made.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_figures_of_many_labels_can_be_drawn(tmp_path):
    found = np.full((50, 40), 1 / 40)
    labels = tuple(f"a label with a long name {n}" for n in range(40))
    for targets in (np.arange(50) % 40, np.eye(40, dtype=int)[np.arange(50) % 40]):
        for figure in figures(found, targets, labels).values():
            figure.savefig(tmp_path / "figure.png")
