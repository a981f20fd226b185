"""Plain torch that computes only what a mask lets be seen, in strips: the fast path of CPUs, at home on any device.

Time and memory grow with the pairs that the pattern allows, linearly with length for windows and BigBird; nothing the
size of queries × keys exists, no mask either.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch._compile import _disable_dynamo  # the public torch.compiler.disable imports the compiler: 9 seconds

from manyheads.attention.bias import Bias
from manyheads.attention.kernels.strips.function import Attend
from manyheads.attention.kernels.strips.plan import plan
from manyheads.attention.mask import Mask


def why_not(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> str | None:
    if isinstance(bias, Tensor) and bias.requires_grad:
        return "attention.kernel=blocked gives no gradient to a trained bias: take attention.kernel=sdpa."
    return None


@_disable_dynamo
def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Mask,
    bias: Bias | None,
    dropout: float,
    shift: Tensor | None,
) -> Float[Tensor, "b h n d"]:
    """softmax(q kᵀ / √d + bias) v over the allowed keys; with `shift` (b|1, h|1, n) sigmoid(… + shift) v."""
    dtype, device = q.dtype, q.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    q, k, v = (x.to(dtype) for x in (q, k, v))
    seed = int(torch.randint(2**62, ())) if dropout else 0
    with torch.autocast(device, enabled=False):
        return Attend.apply(q, k, v, plan(mask, q, k, bias), shift, dropout, seed)
