"""Attention with linear biases: the further a key, the lower its score."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.position.base import Position


class Alibi(Position):
    """−slope_h · |i − j| added to the scores (Press, Smith and Lewis 2022, section 3)."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("slopes", slopes(heads), persistent=True)
        self._bias: DistanceBias | None = None

    @property
    def bias(self) -> Bias:
        # One object per buffer: masks remember the dense form by the identity of the bias.
        if self._bias is None or self._bias.slopes is not self.slopes:
            self._bias = DistanceBias(self.slopes)
        return self._bias


def slopes(heads: int) -> Float[Tensor, "h"]:
    """2^(−8k/h) for k = 1 … h; where h is no power of two, every second slope of the next one fills up."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * k / power) for k in range(1, power + 1)]
    between = [2 ** (-8 * k / (2 * power)) for k in range(1, 2 * power + 1, 2)]
    return torch.tensor((first + between)[:heads], dtype=torch.float32)
