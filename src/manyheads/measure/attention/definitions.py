"""What peers and rules should compute, as plain sums over a small sequence."""

from torch import Tensor, nn

from manyheads.attention.kernels import reference
from manyheads.attention.mask import Mask


def softmax(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """softmax(q kᵀ / √d) v over the allowed keys: (b, h, n, d)."""
    return reference.attend(q, k, v, mask, None, 0.0, None)


def linear(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Weights φ(q)·φ(k) over the allowed keys, divided by their sum; φ = elu + 1 (Katharopoulos et al. 2020, eq. 7)."""
    group = q.size(1) // k.size(1)
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    weights = (nn.functional.elu(q) + 1) @ (nn.functional.elu(k) + 1).transpose(-2, -1)
    weights = weights * mask.dense(q.size(1), q.device)
    return weights @ v / weights.sum(-1, keepdim=True)
