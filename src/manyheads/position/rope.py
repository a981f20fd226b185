"""Rotary positions: queries and keys are turned, so that their products know only distances."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.errors import UserError
from manyheads.position.base import Position, Start
from manyheads.position.scaling import Scaling
from manyheads.position.sinusoidal import positions


class Rope(Position):
    """Pair (x_i, x_{i + d/2}) turns by pos · base^(−2i/d) (Su et al. 2021, eq. 34, in GPT-NeoX's half-split layout).

    scaling: how to read inputs longer than those trained on, by `factor`; see scaling.py. original: the longest of
    those, which dynamic and yarn have to know. fast, slow: yarn keeps pairs that turn more than `fast` times over it,
    and stretches those that turn less than `slow` times.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        base: float,
        scaling: Literal["none", "linear", "ntk", "dynamic", "yarn"],
        factor: float,
        original: int | None,
        fast: float,
        slow: float,
    ) -> None:
        super().__init__()
        if head_dim % 2:
            raise UserError(f"position=rope turns pairs, so the head size must be even, not {head_dim}.")
        self.scaling = Scaling(scaling, factor, original, fast, slow)
        self.scaling.check(head_dim)
        self.head_dim, self.base = head_dim, base
        self.register_buffer("rates", self.scaling.rates(head_dim, base), persistent=False)
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
        angles = positions(start, q.size(2), q.device).unsqueeze(-1) * self._rates(q, start)
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        cos, sin = angles.cos(), angles.sin()
        if self.scaling.kind == "yarn":
            cos, sin = cos * self.scaling.temperature, sin * self.scaling.temperature
        return cos.to(q.dtype), sin.to(q.dtype)

    def _rates(self, q: Tensor, start: Start) -> Float[Tensor, "#b 1 d/2"] | Float[Tensor, "d/2"]:
        """Those of the scheme; dynamic ones depend on how much there is to read.

        Keys that a cache holds were turned at the rates of their time, and cannot be turned again.
        """
        if self.scaling.kind != "dynamic":
            return self.rates
        end = int(start.max()) + q.size(2) if isinstance(start, Tensor) else start + q.size(2)
        continued = bool((start > 0).any()) if isinstance(start, Tensor) else start > 0
        if continued and end > self.scaling.original:
            raise UserError(
                f"position.scaling=dynamic turns all {end} tokens anew when there are more than "
                f"position.original={self.scaling.original}, which a cache cannot: write shorter texts, or take "
                "position.scaling=yarn, ntk or linear."
            )
        return self.scaling.rates(self.head_dim, self.base, end).to(q.device)


def turn(x: Float[Tensor, "b h n d"], cos: Tensor, sin: Tensor) -> Float[Tensor, "b h n d"]:
    half = x.size(-1) // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin
