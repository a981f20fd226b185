"""torch's own scaled_dot_product_attention: fused on every device, but it needs a dense mask beyond `causal`."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from manyheads.attention.bias import Bias, DistanceBias, as_tensor
from manyheads.attention.mask import Mask


def why_not(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> str | None:
    if shift is not None:
        return "attention.kernel=sdpa computes softmax alone: take attention.kernel=any."
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
    """softmax(q kᵀ / √d + bias) v over the allowed keys, by the backend that torch chooses."""
    with _backend(q, k):
        return _attend(q, k, v, mask, bias, dropout)


def _backend(q: Tensor, k: Tensor) -> AbstractContextManager:
    """Torch's choice, but for the backward of bf16 on CPUs: its fused kernel takes 2 to 6 times as long as plain matrix
    products up to some hundred tokens (measured on Zen 4; torch 2.13). Beyond, memory counts.
    """
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad
    return sdpa_kernel(SDPBackend.MATH) if slow and q.size(2) * k.size(2) <= 256 * 256 else nullcontext()


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None, dropout: float) -> Tensor:
    shared = {"dropout_p": dropout, "enable_gqa": q.size(1) != k.size(1)}
    if bias is None and mask.full:
        return scaled_dot_product_attention(q, k, v, **shared)
    # torch aligns is_causal top-left, so it says what the mask says only where query 0 sits on key 0.
    if bias is None and mask.rowless and isinstance(mask.offset, int) and mask.offset == 0:
        return scaled_dot_product_attention(q, k, v, is_causal=True, **shared)
    out = scaled_dot_product_attention(q, k, v, attn_mask=_additive(q, mask, bias), **shared)
    blind = mask.blind(q.size(1), q.device)
    return out if blind is None else out.masked_fill(blind, 0.0)


def _additive(q: Tensor, mask: Mask, bias: Bias | None) -> Tensor:
    """Mask and bias in the one tensor torch takes; blind rows see everything here and are zeroed afterwards."""
    if isinstance(bias, DistanceBias) and bias.of is not None and not mask.per_head:
        return bias.part(_additive(q, mask, bias.of[0]))

    def visible() -> Tensor:
        seen, blind = mask.dense(q.size(1), q.device), mask.blind(q.size(1), q.device)
        return seen if blind is None else seen | blind

    seen = mask.once(("visible", q.size(1) if mask.per_head else 1, q.device), visible)
    if bias is None:
        return seen
    made = as_tensor(bias, mask, q.dtype)
    if isinstance(bias, Tensor):
        return made.masked_fill(~seen, float("-inf"))
    key = ("visible", bias, q.dtype, q.device)
    return mask.once(key, lambda: made.masked_fill(~seen, float("-inf")))
