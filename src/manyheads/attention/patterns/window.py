"""Sliding window with dilation and global tokens (Longformer: Beltagy, Peters and Cohan 2020, section 3.1).

`width` counts positions on each side, as in the paper's code: 2 · width + 1 keys in all, width + 1 where causal. Peers
that count both sides together (transformers' attention_window, local-attention) call twice that number their window.
"""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from manyheads.attention.patterns.base import Length, Pattern, Span
from manyheads.errors import UserError


@dataclass(frozen=True)
class Window(Pattern):
    """Query i sees key j where |i − j| ≤ width · dilation and dilation divides i − j.

    globals: the first so many positions see everything and are seen by all. Unlike Longformer's they share the
        projections of the others.
    """

    width: int
    dilation: int
    globals: int

    def __post_init__(self) -> None:
        for key, least in (("width", 0), ("dilation", 1), ("globals", 0)):
            if getattr(self, key) < least:
                raise UserError(f"attention.pattern.{key}={getattr(self, key)} must be {least} or more.")

    @property
    def reach(self) -> int:
        """How far a query sees to each side."""
        return self.width * self.dilation

    def allowed(self, h: Tensor, i: Tensor, j: Tensor, length: Length, causal: bool) -> Bool[Tensor, "..."]:
        distance = i - j
        near = distance.abs() <= self.reach
        if self.dilation > 1:
            near = near & (distance % self.dilation == 0)
        if self.globals:
            near = near | (i < self.globals) | (j < self.globals)
        return near

    def spans(self, h: Tensor, first: Tensor, last: Tensor, length: Length, causal: bool) -> list[Span]:
        near = (first - self.reach, last + self.reach + 1)
        if not self.globals:
            return [near]
        zero = first * 0
        return [near, (zero, zero + self.globals), (zero, (first < self.globals) * length)]

    def whole(
        self, h: Tensor, first: Tensor, last: Tensor, low: Tensor, high: Tensor, length: Length, causal: bool
    ) -> Bool[Tensor, "..."]:
        near = (last - low <= self.reach) & (high - 1 - first <= self.reach)
        if self.dilation > 1:
            near = near & (first == last) & (high - low == 1) & ((first - low) % self.dilation == 0)
        return near | (last < self.globals) | (high <= self.globals) if self.globals else near

    @property
    def per_head(self) -> bool:
        return False

    def relative(self, first: int, runs: tuple[tuple[int, int], ...]) -> bool:
        return first >= self.globals and all(low >= self.globals for low, _ in runs)
