"""Performer: softmax attention in expectation, by random features (FAVOR+), at linear cost."""

import hashlib
import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyheads.attention.bias import Bias
from manyheads.attention.features import Favor, FeatureMap
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.errors import UserError


class Performer(Linear):
    """Linear attention with positive orthogonal random features of exp(q · k / √d) (Choromanski et al. 2021, sec. 2).

    Its error grows with exp(|q + k|² / √d), so it stands in for no trained softmax attention: train with it.

    features: F, or None for ⌊d ln d⌋, about as many as orthogonality needs to help (the paper's theorem 4).
    eps: the floor of each feature, as in the authors' code; it keeps every denominator away from 0.
    seed: with the layer's number it decides the directions, the same in every process.
    redraw: after how many training passes directions are drawn anew, or None: never. Never in evaluation.
    kernel, strict, chunk: as in `Linear`.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        layer: int,
        kv_heads: int | None,
        kernel: str,
        strict: bool,
        eps: float,
        chunk: int,
        features: int | None,
        seed: int,
        redraw: int | None,
    ) -> None:
        super().__init__(heads, head_dim, layer, kv_heads, kernel, strict, 0.0, chunk)
        for key, number in (("features", features), ("redraw", redraw)):
            if number is not None and number < 1:
                raise UserError(f"attention.{key}={number} must be 1 or more, or null.")
        self.floor, self.seed, self.redraw = eps, seed, redraw
        features = max(1, int(head_dim * math.log(head_dim))) if features is None else features
        drawn = directions(features, head_dim, generator(seed, layer, 0)).to(torch.get_default_dtype())
        self.register_buffer("directions", drawn)
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def feature(self) -> FeatureMap:
        return Favor(self.directions, self.floor, self.chunk)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        if self.training and self.redraw is not None:
            self._count()
        return super().attend(q, k, v, mask, bias)

    def _count(self) -> None:
        """Counts a training pass; every `redraw` of them, other directions come before it."""
        draw, left = divmod(int(self.passes), self.redraw)
        if draw and not left:
            drawn = directions(*self.directions.shape, generator(self.seed, self.layer, draw))
            # A new tensor: passes that still wait for their backward hold the old one.
            self.directions = drawn.to(self.directions)
        self.passes += 1

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, features={self.directions.size(0)}, floor={self.floor}, redraw={self.redraw}"


def generator(seed: int, layer: int, draw: int) -> torch.Generator:
    """Random numbers of their own for each of the three, on the CPU: the same on every device and in every process."""
    digest = hashlib.blake2b(f"{seed} {layer} {draw}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def directions(features: int, size: int, random: torch.Generator) -> Float[Tensor, "F d"]:
    """Rows of length χ_d, as those of a Gaussian matrix, but orthogonal in blocks of d (section 2.4), in float64."""
    blocks = [_orthogonal(size, random) for _ in range(math.ceil(features / size))]
    lengths = torch.randn(features, size, generator=random, dtype=torch.float64).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:features] * lengths


def _orthogonal(size: int, random: torch.Generator) -> Float[Tensor, "d d"]:
    """A rotation or reflection, all equally likely: QR alone prefers some, the signs of R's diagonal undo that."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=random, dtype=torch.float64))
    return (q * r.diagonal().sign()).T
