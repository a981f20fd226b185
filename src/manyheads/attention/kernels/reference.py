"""The specification: attention as one writes it on a blackboard. Slow, and obviously right."""

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.attention.bias import Bias, as_tensor
from manyheads.attention.mask import Mask


def why_not(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> str | None:
    return None


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    bias: Bias | None,
    dropout: float,
    shift: Tensor | None,
) -> Float[Tensor, "b h n d"]:
    """softmax(q kᵀ / √d + bias) v over the allowed keys (Vaswani et al. 2017, eq. 1).

    With `shift` (b|1, h|1, n): sigmoid(q kᵀ / √d + bias + shift) v (Ramapuram et al. 2025, eq. 3).
    """
    weights = probabilities(q, k, mask, bias, shift)
    weights = torch.nn.functional.dropout(weights, dropout)
    group = q.size(1) // v.size(1)
    return weights.to(v.dtype) @ v.repeat_interleave(group, dim=1)


def probabilities(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g m d"], mask: Mask, bias: Bias | None, shift: Tensor | None = None
) -> Float[Tensor, "b h n m"]:
    """The weights, in at least fp32; rows of queries that see nothing are zero."""
    exact = torch.promote_types(q.dtype, torch.float32)
    k = k.repeat_interleave(q.size(1) // k.size(1), dim=1)
    scores = q.to(exact) @ k.to(exact).transpose(-2, -1) / q.size(-1) ** 0.5
    if bias is not None:
        scores = scores + as_tensor(bias, mask, exact)
    seen = mask.dense(q.size(1), q.device)
    if shift is not None:
        return (scores + shift.to(exact).unsqueeze(-1)).sigmoid() * seen
    blind = ~seen.any(-1, keepdim=True)
    # A blind row keeps its scores until after the softmax: −inf throughout would make NaN of it and of its gradient.
    scores = scores.masked_fill(~(seen | blind), float("-inf"))
    return scores.softmax(-1).masked_fill(blind, 0.0)
