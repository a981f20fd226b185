"""The hard concrete distribution: a gate that is exactly 0 or 1 with some probability, and differentiable between.

With u uniform in (0, 1): s = σ((ln u − ln(1 − u) + α) / β), z = clip(s (ζ − γ) + γ, 0, 1) (Louizos, Welling and Kingma
2018, eq. 10 and 11).
"""

import math

import torch
from torch import Tensor

LOW, HIGH = -0.1, 1.1
"""γ and ζ, as published."""

SPREAD = 2 / 3
"""β, as published."""

EDGE = 1e-6
"""How near u comes to 0 and 1."""

BOUND = math.log(100)
"""|α| at most, as in CoFi: beyond, gradients vanish."""


def sample(alpha: Tensor, u: Tensor) -> Tensor:
    u = u.clamp(EDGE, 1 - EDGE)
    s = torch.sigmoid((u.log() - (1 - u).log() + alpha) / SPREAD)
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)


def likely_open(alpha: Tensor) -> Tensor:
    """P(z ≠ 0) = σ(α − β ln(−γ / ζ)) (eq. 12)."""
    return torch.sigmoid(alpha - SPREAD * math.log(-LOW / HIGH))


def settled(alpha: Tensor) -> Tensor:
    """The gate without noise: clip(σ(α) (ζ − γ) + γ, 0, 1) (eq. 13)."""
    return (torch.sigmoid(alpha) * (HIGH - LOW) + LOW).clamp(0, 1)
