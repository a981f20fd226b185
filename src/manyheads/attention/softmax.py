"""Softmax attention, the rule of 2017; how it is computed is its kernel's business."""

from manyheads.attention.exact import Exact


class Softmax(Exact):
    """softmax(q kᵀ / √d + bias) v (Vaswani et al. 2017, eq. 1), grouped queries included (Ainslie et al. 2023)."""
