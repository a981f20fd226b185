"""Numbers that are too coarse to be summed, exponentiated or ranked are widened first."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x in fp32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
