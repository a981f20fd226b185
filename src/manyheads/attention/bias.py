"""What is added to the scores before they become weights, kept in its smallest form until a kernel asks for numbers."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.attention.mask import Mask


@dataclass(frozen=True, eq=False)
class DistanceBias:
    """−slopes[h] · |i − j|, i and j absolute positions (ALiBi: Press, Smith and Lewis 2022, section 3).

    slopes (h,): one positive number per query head.
    of: the bias of which only some heads are left, and which; then that one's numbers are remembered, not these.
    """

    slopes: Float[Tensor, "h"]
    of: tuple["DistanceBias", Int[Tensor, "h"]] | None = None

    def dense(self, mask: Mask) -> Float[Tensor, "#b h n m"]:
        """The bias as numbers, made once per mask."""
        if self.of is not None:
            return self.part(self.of[0].dense(mask))
        # The key holds the bias itself: the id of one that is gone may be given to the next one.
        return mask.once(("bias", self), lambda: self._dense(mask))

    def part(self, numbers: Float[Tensor, "#b whole n m"]) -> Float[Tensor, "#b h n m"]:
        """Those of the heads that are left."""
        return numbers.index_select(1, self.of[1])

    def _dense(self, mask: Mask) -> Tensor:
        device = self.slopes.device
        offset = mask.offset.view(-1, 1, 1, 1) if isinstance(mask.offset, Tensor) else mask.offset
        i = torch.arange(mask.queries, device=device).view(1, 1, -1, 1) + offset
        j = torch.arange(mask.keys, device=device).view(1, 1, 1, -1)
        return -self.slopes.view(1, -1, 1, 1) * (i - j).abs()


Bias = DistanceBias | Tensor


def of_heads(bias: Bias, heads: Int[Tensor, "k"]) -> Bias:
    """What these query heads get of it, in their order."""
    if isinstance(bias, DistanceBias):
        whole, own = (bias, heads) if bias.of is None else (bias.of[0], bias.of[1][heads])
        return DistanceBias(bias.slopes[heads], (whole, own))
    return bias if bias.dim() < 3 or bias.size(-3) == 1 else bias.index_select(-3, heads)


def as_tensor(bias: Bias, mask: Mask, dtype: torch.dtype) -> Float[Tensor, "#b #h #n m"]:
    """Any bias as a tensor of `dtype` that broadcasts to the scores (b, h, n, m)."""
    if not isinstance(bias, DistanceBias):
        return bias.to(dtype)
    if bias.of is not None:
        return bias.part(as_tensor(bias.of[0], mask, dtype))
    return mask.once(("bias", bias, dtype), lambda: bias.dense(mask).to(dtype))
