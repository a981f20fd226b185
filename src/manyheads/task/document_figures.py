"""Figures of labelled documents: what is taken for what, which labels are found, and how far a probability is true."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from manyheads.task.document_scores import Targets, confidence, confusion, f1_by_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10  # of the diagram; fewer than the score's, so that each holds some documents
READABLE = 30  # labels: with more, names and numbers would lie upon each other


def figures(found: Float[np.ndarray, "d k"], targets: Targets, labels: tuple[str, ...]) -> dict[str, "Figure"]:
    """By name: `confusion` where a document has one label, else `labels`; and `reliability`."""
    if targets.ndim == 2:
        first = {"labels": label_bars(f1_by_label(found, targets), targets.sum(0), labels)}
    else:
        first = {"confusion": confusion_matrix(confusion(found, targets), labels)}
    return {**first, "reliability": reliability(*confidence(found, targets))}


def confusion_matrix(counts: Int[np.ndarray, "k k"], labels: tuple[str, ...]) -> "Figure":
    """Coloured by the share of a row, so that rare labels are seen; the numbers are documents."""
    side = min(4 + 0.35 * len(labels), 16)
    figure, axes = _blank(side, side)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the true label", shrink=0.7)
    axes.set(xlabel="given", ylabel="true")
    if len(labels) <= READABLE:
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def label_bars(f1: Float[np.ndarray, "k"], documents: Int[np.ndarray, "k"], labels: tuple[str, ...]) -> "Figure":
    """F1 of each label, the most frequent on top; only the first READABLE."""
    order = np.argsort(-documents, kind="stable")[:READABLE]
    figure, axes = _blank(7, 1.5 + 0.3 * len(order))
    bars = axes.barh([f"{labels[n]} ({documents[n]:,})" for n in order], f1[order], color="#3b6ea8")
    axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.set(xlim=(0, 1.08), xlabel="F1 (in brackets: documents that have the label)")
    axes.invert_yaxis()
    return figure


def reliability(stated: Float[np.ndarray, "n"], true: Float[np.ndarray, "n"]) -> "Figure":
    """How often statements of each probability were true; below, how many there were (Guo et al. 2017, figure 1)."""
    figure, axes = _blank(5, 5.5, rows=[3, 1])
    part = np.minimum((stated * BINS).astype(int), BINS - 1)
    count = np.bincount(part, minlength=BINS)
    some = count > 0
    means = [np.bincount(part, weights, BINS)[some] / count[some] for weights in (stated, true)]
    axes[0].plot([0, 1], [0, 1], color="grey", linestyle=":", label="as it should be")
    axes[0].plot(*means, marker="o", color="#3b6ea8", label="as it is")
    axes[0].set(xlim=(0, 1), ylim=(0, 1), ylabel="share that was true")
    axes[0].legend()
    axes[1].bar((np.arange(BINS) + 0.5) / BINS, count, width=0.9 / BINS, color="#3b6ea8")
    axes[1].set(xlim=(0, 1), xlabel="stated probability", ylabel="number")
    return figure


def _blank(width: float, height: float, rows: list[float] | None = None):
    """A figure of its own, not one of pyplot's, which would keep it for ever."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if rows is None:
        return figure, figure.subplots()
    return figure, figure.subplots(len(rows), height_ratios=rows)
