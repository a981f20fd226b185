"""What one measurement is of, as plain values that travel between processes."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Settings:
    """What all cases of one table share; a folder holds one of these.

    window: tokens, both sides together. overrides: by attention, what replaces values of its yaml. machine: device and
    threads, since times of two machines do not belong side by side.
    """

    batch: int
    heads: int
    kv_heads: int | None
    head_dim: int
    window: int
    error_length: int
    device: str
    machine: str
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One contestant at one length. what: time, or error (against float64). step: forward, both (with backward)."""

    what: str
    contestant: str
    length: int
    causal: bool
    step: str
    dtype: str

    @property
    def key(self) -> str:
        return " ".join(str(value) for value in asdict(self).values())

    @property
    def family(self) -> tuple[Any, ...]:
        """What grows with length alone."""
        return (self.what, self.contestant, self.causal, self.step, self.dtype)


@dataclass(frozen=True)
class Shape:
    """What a contestant is built for: sizes, device and numbers."""

    batch: int
    heads: int
    kv_heads: int | None
    head_dim: int
    window: int
    length: int
    causal: bool
    dtype: torch.dtype
    device: torch.device
    overrides: dict[str, Any]
    gradients: bool

    @property
    def width(self) -> int:
        """Keys on each side: a window of w looks w back where causal, and else w/2 to each side."""
        return self.window if self.causal else self.window // 2


def shape_of(case: Case, settings: Settings, dtype: torch.dtype | None = None) -> Shape:
    return Shape(
        settings.batch,
        settings.heads,
        settings.kv_heads,
        settings.head_dim,
        settings.window,
        case.length,
        case.causal,
        dtype or getattr(torch, case.dtype),
        torch.device(settings.device),
        settings.overrides,
        case.step == "both",
    )
