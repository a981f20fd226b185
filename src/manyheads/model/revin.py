"""Reversible instance normalisation: each window is read on its own scale, and its forecast comes back from it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyheads.model.precision import wide

EPS = 1e-5
"""Added to a window's variance, as Kim et al. do: a window that never changes is divided by 0.003."""


@dataclass(frozen=True)
class Level:
    """Where a window lies and how far it swings, for each channel."""

    mean: Float[Tensor, "b 1 c"]
    std: Float[Tensor, "b 1 c"]


class RevIN(nn.Module):
    """(x − mean) / std · scale + shift, and back (Kim et al. 2022, equations 1 to 3).

    Mean and biased deviation are those of the values that are seen, and no gradient goes through them. scale and shift
    are learned, one of each per channel, and begin as 1 and 0. The scale is kept as its logarithm: the way back divides
    by it, and must neither meet a zero nor turn quantiles round.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    @staticmethod
    @torch.no_grad()
    def level(values: Float[Tensor, "b l c"], seen: Bool[Tensor, "b l c"]) -> Level:
        """Of a window without any value: 0 and 1, the training part's own."""
        values, count = wide(values), seen.sum(1, keepdim=True)
        there = count.clamp(min=1)
        mean = (values * seen).sum(1, keepdim=True) / there
        variance = ((values - mean).square() * seen).sum(1, keepdim=True) / there
        return Level(mean, torch.where(count > 0, (variance + EPS).sqrt(), 1.0))

    def normal(
        self, values: Float[Tensor, "b t c"], seen: Bool[Tensor, "b t c"], level: Level
    ) -> Float[Tensor, "b t c"]:
        """0 where a value is missing, whatever stands there."""
        unit = (wide(values) - level.mean) / level.std
        return (unit * self.log_scale.exp() + self.shift) * seen

    def restored(self, x: Float[Tensor, "b h c q"], level: Level) -> Float[Tensor, "b h c q"]:
        """Forecasts on the scale of what `level` was measured on."""
        unit = (wide(x) - self.shift.unsqueeze(-1)) * (-self.log_scale).exp().unsqueeze(-1)
        return unit * level.std.unsqueeze(-1) + level.mean.unsqueeze(-1)
