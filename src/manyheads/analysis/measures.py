"""Numbers of rows of weights: how widely a head looks, how far, and how much heads differ.

Rows are made shares of one first, since sigmoid attention's do not sum to one, and linear attention's only nearly. Rows
that read nothing count nowhere.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def shares(weights: Float[Tensor, "h r m"]) -> Float[Tensor, "h r m"]:
    """Rows that sum to one, in float64; rows of zeros stay."""
    weights = weights.double()
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


def entropy(weights: Float[Tensor, "h r m"]) -> Float[Tensor, "h"]:
    """−Σ p ln p, in nats, the mean over rows; its exponential is an effective number of keys. NaN: no row reads."""
    p = shares(weights)
    return _mean(-torch.special.xlogy(p, p).sum(-1), p)


def effective(weights: Float[Tensor, "h r m"]) -> Float[Tensor, "h"]:
    """How many keys equally weighed would be as wide a look: the mean of exp(entropy) over rows."""
    p = shares(weights)
    return _mean((-torch.special.xlogy(p, p).sum(-1)).exp(), p)


def distance(weights: Float[Tensor, "h r m"], positions: Int[Tensor, "r"]) -> Float[Tensor, "h"]:
    """Σ p |i − j|, the mean over rows; positions: of the queries among the keys."""
    p = shares(weights)
    j = torch.arange(p.size(-1), device=p.device)
    away = (positions.to(p.device).unsqueeze(-1) - j).abs().double()
    return _mean((p * away).sum(-1), p)


def disagreement(weights: Float[Tensor, "h r m"]) -> Float[Tensor, "h h"]:
    """Jensen–Shannon divergence between heads, in bits, the mean over rows: 0 the same, 1 nothing in common."""
    p = shares(weights)
    found = torch.zeros(p.size(0), p.size(0), dtype=p.dtype, device=p.device)
    for head in range(p.size(0)):
        both = p.sum(-1).gt(0) & p[head].sum(-1).gt(0)
        middle = (p + p[head]) / 2
        own, other = _entropy_bits(p), _entropy_bits(p[head])
        apart = (_entropy_bits(middle) - (own + other) / 2).clamp(min=0)
        found[head] = apart.masked_fill(~both, 0.0).sum(-1) / both.sum(-1)
    return found


def _entropy_bits(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(-1) / torch.log(torch.tensor(2.0, dtype=p.dtype))


def _mean(values: Float[Tensor, "h r"], p: Float[Tensor, "h r m"]) -> Float[Tensor, "h"]:
    """Over the rows that read anything."""
    reads = p.sum(-1).gt(0)
    return values.masked_fill(~reads, 0.0).sum(-1) / reads.sum(-1)
