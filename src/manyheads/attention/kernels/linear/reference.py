"""The specification: every pair of query and key, one weight each. Slow, and obviously right."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.mask import Mask


def why_not(q: Tensor, k: Tensor, mask: Mask, feature: FeatureMap) -> str | None:
    return None


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    feature: FeatureMap,
    eps: float,
) -> Float[Tensor, "b h n d"]:
    """Σ_j w_ij v_j / (Σ_j w_ij + eps) over the keys j that query i sees (Katharopoulos et al. 2020, eq. 4).

    w_ij = φ_q(q_i) · φ_k(k_j), where the stabiliser of φ_k is the largest over the keys that query i sees: no query
    depends on what it does not see, and a token written step by step reads what it reads in a full pass.
    """
    exact, seen = torch.promote_types(v.dtype, torch.float32), _expanded(mask.dense(q.size(1), q.device), q, k)
    weights, total = _parts(q, k, seen, feature, eps)
    return (weights @ _repeated(v, q.size(1), seen).to(exact) / total).to(v.dtype)


def probabilities(
    q: Float[Tensor, "b h r d"],
    k: Float[Tensor, "b g m d"],
    seen: Bool[Tensor, "#b #h r m"],
    feature: FeatureMap,
    eps: float,
) -> Float[Tensor, "b h r m"]:
    """w_ij / (Σ_j w_ij + eps), in at least fp32, of some queries and what these see."""
    weights, total = _parts(q, k, _expanded(seen, q, k), feature, eps)
    return weights / total


def _parts(q: Tensor, k: Tensor, seen: Tensor, feature: FeatureMap, eps: float) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    weights = _weights(q.to(exact), _repeated(k, q.size(1), seen).to(exact), seen, feature)
    total = weights.sum(-1, keepdim=True) + eps
    # Nothing seen, nothing read; also where every weight is too small for its type.
    return weights, total.masked_fill(total == 0, 1.0)


def _expanded(seen: Tensor, q: Tensor, k: Tensor) -> Bool[Tensor, "b h n m"]:
    return seen.expand(q.size(0), q.size(1), q.size(2), k.size(2))


def _repeated(x: Tensor, heads: int, seen: Tensor) -> Tensor:
    """Keys or values for every query head (b, h, m, d), with zeros where nobody looks: there may stand NaN."""
    unread = ~seen.any(2).unsqueeze(-1)
    return x.repeat_interleave(heads // x.size(1), dim=1).masked_fill(unread, 0.0)


def _weights(q: Tensor, k: Tensor, seen: Tensor, feature: FeatureMap) -> Float[Tensor, "b h n m"]:
    queries, (keys, top) = feature.queries(q), feature.keys(k)
    weights = queries @ keys.transpose(-2, -1)
    if top is not None:
        top = top.unsqueeze(-2)
        largest = top.masked_fill(~seen, float("-inf")).amax(-1, keepdim=True)
        weights = weights * (top - largest).masked_fill(~seen, float("-inf")).exp()
    weights = weights + feature.floor * queries.sum(-1, keepdim=True)
    return weights.masked_fill(~seen, 0.0)
