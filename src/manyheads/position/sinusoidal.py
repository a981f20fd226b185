"""Fixed waves added to the embeddings."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.position.base import Position, Start


class Sinusoidal(Position):
    """sin and cos of pos / 10000^(2i/dim), interleaved (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        pairs = torch.arange(0, dim, 2, dtype=torch.float32)
        self.register_buffer("rates", torch.exp(-math.log(10000.0) * pairs / dim), persistent=False)
        self.register_buffer("kept", None, persistent=False)
        self.dim = dim

    def keep(self, dims: tuple[int, ...]) -> None:
        kept = torch.arange(self.dim, device=self.rates.device) if self.kept is None else self.kept
        self.kept = kept[list(dims)]

    def embed(self, x: Float[Tensor, "b n dim"], start: Start) -> Float[Tensor, "b n dim"]:
        angles = positions(start, x.size(1), x.device).unsqueeze(-1) * self.rates
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., : self.dim]
        return x + (waves if self.kept is None else waves[..., self.kept]).to(x.dtype)


def positions(start: Start, n: int, device: torch.device) -> Float[Tensor, "#b n"]:
    """Absolute positions start … start + n − 1 in fp32: bf16 could not tell neighbours apart beyond 256."""
    steps = torch.arange(n, device=device, dtype=torch.float32).unsqueeze(0)
    return steps + (start.unsqueeze(1).to(torch.float32) if isinstance(start, Tensor) else start)
