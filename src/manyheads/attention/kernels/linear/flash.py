"""Our own Triton kernels of chunked linear attention: forward and backward on CUDA devices, elu + 1 applied inside.

Other feature maps are applied before them, where one stabiliser serves all queries: without causality.
"""

import os
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.attention.features import FeatureMap
from manyheads.attention.kernels.linear.gates import lowest
from manyheads.attention.mask import Mask

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SIZES = (16, 256)
FEATURES = 512
"""Most features of a query that one program can hold."""


def why_not(q: Tensor, k: Tensor, mask: Mask, feature: FeatureMap) -> str | None:
    return _why_not_here(q) or _why_not_mask(mask) or _why_not_feature(q, mask, feature)


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    feature: FeatureMap,
    eps: float,
) -> Float[Tensor, "b h n d"]:
    """Σ_j w_ij v_j / (Σ_j w_ij + eps) over the keys j that query i sees, with w_ij = φ_q(q_i) · φ_k(k_j)."""
    from manyheads.attention.kernels.ops.linear import attend as computed

    if mask.causal:
        # Query i sees the keys up to i, so no one looks behind the last query.
        k, v = k[:, :, : q.size(2)], v[:, :, : q.size(2)]
    lengths = None if mask.lengths is None else mask.lengths.to(q.device)
    elu = feature.name == "elu"
    if not elu:
        q, k = feature.queries(q), _stabilised(k, lengths, feature)
    q, k, v = (x.to(_dtype(v)) for x in (q, k, v))
    return computed(q, k, v, lengths, mask.causal, elu, eps)


def _why_not_here(q: Tensor) -> str | None:
    device, dtype, d = q.device.type, _dtype(q), q.size(-1)
    if find_spec("triton") is None:
        return "attention.kernel=flash needs Triton, which is not installed here; take attention.kernel=chunked."
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"attention.kernel=flash needs a CUDA device, but q is on {device}; take attention.kernel=chunked."
    if dtype not in DTYPES:
        return f"attention.kernel=flash computes in bf16, fp16 and fp32, not {dtype}; take attention.kernel=chunked."
    if not SIZES[0] <= d <= SIZES[1]:
        low, high = SIZES
        return f"attention.kernel=flash takes heads of size {low} to {high}, not {d}; take attention.kernel=chunked."
    return None


def _why_not_mask(mask: Mask) -> str | None:
    if mask.documents is not None or mask.pattern is not None:
        return "attention.kernel=flash sums over whole rows, not documents or patterns; take attention.kernel=chunked."
    if mask.causal and (isinstance(mask.offset, Tensor) or mask.offset != 0):
        return (
            "attention.kernel=flash, where causal, starts with query 0 on key 0, so it goes on from no cached keys; "
            "take attention.kernel=chunked."
        )
    return None


def _why_not_feature(q: Tensor, mask: Mask, feature: FeatureMap) -> str | None:
    if feature.name == "elu":
        return None
    if mask.causal:
        return (
            f"attention.kernel=flash takes the features {feature.name} without causality alone, since their stabiliser "
            "differs between queries; take attention.kernel=chunked."
        )
    features = feature.queries(q.new_zeros(1, q.size(-1))).size(-1)
    if features > FEATURES:
        return f"attention.kernel=flash takes up to {FEATURES} features, not {features}; take attention.kernel=chunked."
    return None


def _stabilised(k: Float[Tensor, "b g m d"], lengths: Tensor | None, feature: FeatureMap) -> Float[Tensor, "b g m F"]:
    """φ_k with the one stabiliser that queries share when all see the same keys. Padding may hold NaN."""
    unseen = None
    if lengths is not None:
        unseen = (torch.arange(k.size(2), device=k.device) >= lengths.unsqueeze(1)).unsqueeze(1)
        k = k.masked_fill(unseen.unsqueeze(-1), 0.0)
    phi, top = feature.keys(k)
    if top is None:
        return phi + feature.floor
    seen = top if unseen is None else top.masked_fill(unseen, lowest(top.dtype))
    # Padding may lie above the largest that is seen; the kernel leaves it out, but infinity would not be left out.
    return phi * (top - seen.amax(-1, keepdim=True)).clamp(max=0).exp().unsqueeze(-1) + feature.floor


def _dtype(x: Tensor) -> torch.dtype:
    """What to compute in: under autocast its type, as torch's own attention does."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
