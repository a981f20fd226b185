"""Rotary positions: queries and keys are turned, so that their products know only distances."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.errors import UserError
from manyheads.position.base import Position, Start
from manyheads.position.sinusoidal import positions


class Rope(Position):
    """Pair (x_i, x_{i + d/2}) turns by pos · base^(−2i/d) (Su et al. 2021, eq. 34, in GPT-NeoX's half-split layout).

    scaling: how to read inputs longer than those trained on, by `factor` s.
        linear: every angle divided by s (Chen et al. 2023); ntk: base · s^(d/(d−2)), which leaves the fast pairs alone.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        base: float,
        scaling: Literal["none", "linear", "ntk"],
        factor: float,
    ) -> None:
        super().__init__()
        if head_dim % 2:
            raise UserError(f"position=rope turns pairs, so the head size must be even, not {head_dim}.")
        if scaling == "none" and factor != 1:
            raise UserError(f"position.factor={factor} needs position.scaling=linear or position.scaling=ntk.")
        self.register_buffer("rates", rates(head_dim, base, scaling, factor), persistent=False)
        self._made: tuple[object, tuple[Tensor, Tensor]] = (None, (self.rates, self.rates))

    def rotate(
        self, q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g n d"], start: Start
    ) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b g n d"]]:
        cos, sin = self._angles(q, start)
        return turn(q, cos, sin), turn(k, cos, sin)

    def _angles(self, q: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """Cosines and sines (#b, 1, n, d); one start for all rows is made by the first layer and used by the others."""
        if isinstance(start, Tensor):
            return self._make(q, start)
        # Tensors made in inference mode, where nothing has gradients, cannot serve training.
        key = (start, q.size(2), q.dtype, q.device, torch.is_grad_enabled())
        if self._made[0] != key:
            self._made = key, self._make(q, start)
        return self._made[1]

    def _make(self, q: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        # fp32 throughout: bf16 angles would merge neighbouring positions.
        angles = positions(start, q.size(2), q.device).unsqueeze(-1) * self.rates
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        return angles.cos().to(q.dtype), angles.sin().to(q.dtype)


def rates(head_dim: int, base: float, scaling: str, factor: float) -> Float[Tensor, "d/2"]:
    """Radians per position of each pair."""
    if scaling == "ntk":
        base = base * factor ** (head_dim / (head_dim - 2))
    slow = factor if scaling == "linear" else 1.0
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim) / slow


def turn(x: Float[Tensor, "b h n d"], cos: Tensor, sin: Tensor) -> Float[Tensor, "b h n d"]:
    half = x.size(-1) // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin
