"""Rows of weights, recomputed from queries and keys: what a fused kernel never writes down.

A few rows of a long document cost what they show, rows × keys; nothing of n × n is made.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.mask import Mask

BLOCK = 2048
"""Keys whose scores are made at once: few enough for the cache, many enough for one product to count."""


def weigh(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    mask: Mask,
    bias: Bias | None,
    shift: Float[Tensor, "#b #h n"] | None,
    rows: Int[Tensor, "r"] | None,
) -> Float[Tensor, "b h r m"]:
    """exp(score − log-sum-exp over the keys that the query sees), or sigmoid(score + shift); rows: of which queries.

    In at least fp32. What is not seen has weight 0, and a query that sees nothing has a row of zeros.
    """
    rows, exact = of_all(mask, rows, q.device), torch.promote_types(q.dtype, torch.float32)
    q, k = q[:, :, rows].to(exact) / q.size(-1) ** 0.5, k.to(exact)
    scores = q.new_empty(*q.shape[:3], k.size(2))
    total = q.new_full(scores.shape[:3], float("-inf"))
    for start in range(0, k.size(2), BLOCK):
        keys = torch.arange(start, min(start + BLOCK, k.size(2)), device=q.device)
        part = _scores(q, k[:, :, keys], mask, bias, rows, keys)
        scores[..., start : start + BLOCK] = part
        total = torch.logaddexp(total, part.logsumexp(-1))
    if shift is not None:
        return scores.add_(shift[..., rows].to(exact).unsqueeze(-1)).sigmoid_()
    # A query that sees nothing: exp(−inf − 0) = 0.
    return scores.sub_(total.masked_fill(total.isneginf(), 0.0).unsqueeze(-1)).exp_()


def seen(mask: Mask, heads: int, rows: Int[Tensor, "r"], keys: Int[Tensor, "k"] | None = None) -> Bool[Tensor, "..."]:
    """`mask.allowed` for these queries and keys (None: all): (b or 1, h or 1, r, k)."""
    device = rows.device
    keys = torch.arange(mask.keys, device=device) if keys is None else keys
    b = torch.arange(mask.rows, device=device).view(-1, 1, 1, 1)
    h = torch.arange(heads if mask.per_head else 1, device=device).view(1, -1, 1, 1)
    return mask.allowed(b, h, rows.view(1, 1, -1, 1), keys.view(1, 1, 1, -1))


def of_all(mask: Mask, rows: Int[Tensor, "r"] | None, device: torch.device) -> Int[Tensor, "r"]:
    """The queries that are asked for; None asks for all."""
    return torch.arange(mask.queries, device=device) if rows is None else rows.to(device)


def _scores(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, rows: Tensor, keys: Tensor) -> Tensor:
    """Of some queries and some keys; −inf where nothing is seen."""
    # Query heads of one key-value head lie side by side: one product for all of them.
    asking = q.unflatten(1, (k.size(1), -1)).flatten(2, 3)
    scores = (asking @ k.transpose(-2, -1)).unflatten(2, (-1, len(rows))).flatten(1, 2)
    if bias is not None:
        scores = scores + _bias(bias, mask, rows, keys).to(scores.dtype)
    return scores.masked_fill(~seen(mask, q.size(1), rows, keys), float("-inf"))


def _bias(bias: Bias, mask: Mask, rows: Tensor, keys: Tensor) -> Float[Tensor, "#b #h #r k"]:
    if not isinstance(bias, DistanceBias):
        bias = bias[(None,) * (4 - bias.dim())]
        return (bias if bias.size(-2) == 1 else bias[..., rows, :])[..., keys]
    offset = mask.offset.view(-1, 1, 1, 1) if isinstance(mask.offset, Tensor) else mask.offset
    position = rows.view(1, 1, -1, 1) + offset
    return -bias.slopes.view(1, -1, 1, 1) * (position - keys.view(1, 1, 1, -1)).abs()
