"""Which keys a query may look at. `Mask.allowed` is the one definition; other forms derive from it, once per batch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyheads.attention.patterns.base import Pattern


@dataclass(frozen=True, eq=False)
class Mask:
    """True means: may look.

    queries, keys: their numbers, n and m.
    causal: query i sees no key behind its own absolute position.
    lengths (b,): only the first `lengths[b]` keys are real; padding is on the right, and of finite numbers.
    documents (b, m): a query sees keys of its own document alone (packed sequences; self-attention).
    pattern: static sparsity on top.
    offset: absolute position of query 0 among the keys, a number or one per row (b,). Left out, the last query sits
        on the last key (offset = keys − queries), which is right for self-attention and for cached decoding alike.
    cross: queries and keys belong to different sequences, so that positions of one say nothing about the other: only
        `lengths` restricts, and patterns do not apply.
    """

    queries: int
    keys: int
    causal: bool = False
    lengths: Int[Tensor, "b"] | None = None
    documents: Int[Tensor, "b m"] | None = None
    pattern: Pattern | None = None
    offset: int | Int[Tensor, "b"] | None = None
    cross: bool = False
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        if self.offset is None:
            object.__setattr__(self, "offset", self.keys - self.queries)
        if self.documents is not None and self.documents.size(-1) != self.keys:
            raise ValueError(f"documents name {self.documents.size(-1)} positions, but there are {self.keys} keys")
        if self.cross and (self.causal or self.documents is not None or self.pattern is not None):
            raise ValueError("a cross mask knows lengths alone: causal, documents and patterns compare positions")

    def allowed(self, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Bool[Tensor, "..."]:
        """Whether query i of row b and head h may look at key j; indices are tensors that broadcast."""
        position = i + (self.offset[b] if isinstance(self.offset, Tensor) else self.offset)
        seen = j >= 0
        if self.causal:
            seen = seen & (j <= position)
        if self.lengths is not None:
            seen = seen & (j < self.lengths[b])
        if self.documents is not None:
            # Positions outside the sequence belong to no document; the clamp only keeps the look-up in range.
            inside = position.clamp(0, self.keys - 1)
            seen = seen & (position == inside) & (self.documents[b, inside] == self.documents[b, j])
        if self.pattern is not None:
            length = self.keys if self.lengths is None else self.lengths[b]
            seen = seen & self.pattern.allowed(h, position, j, length, self.causal)
        return seen

    def within(self, pattern: Pattern | None) -> "Mask":
        """This mask with a pattern on top, made once; itself where there is none, and across sequences."""
        if pattern is None or self.cross:
            return self
        if self.pattern is not None:
            raise ValueError(f"this mask has a pattern of its own, {self.pattern}; it takes no second one")
        return self.once(("within", pattern), lambda: replace(self, pattern=pattern))

    def without_pattern(self) -> "Mask":
        """What this mask says besides its pattern."""
        return self if self.pattern is None else self.once("without_pattern", lambda: replace(self, pattern=None))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, remembered under `key` for as long as this mask lives (one batch)."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    @property
    def full(self) -> bool:
        """Every query sees every key: also the newest query of a cache."""
        ahead = isinstance(self.offset, int) and self.offset >= self.keys - 1
        return (not self.causal or ahead) and self.rowless

    @property
    def rowless(self) -> bool:
        """Nothing but `causal` restricts: the mask is the same for every row and head."""
        return self.lengths is None and self.documents is None and self.pattern is None

    @property
    def rows(self) -> int:
        """How many rows the mask tells apart; 1 where it is the same for all."""
        for per_row in (self.lengths, self.documents, self.offset):
            if isinstance(per_row, Tensor):
                return per_row.size(0)
        return 1

    @property
    def per_head(self) -> bool:
        """Whether heads see different keys."""
        return self.pattern is not None and self.pattern.per_head

    def dense(self, heads: int, device: torch.device) -> Bool[Tensor, "#b #h #n m"]:
        """The mask as a tensor that broadcasts to (b, heads, n, m); axes on which it does not depend have size 1."""
        heads = heads if self.per_head else 1  # layers of different numbers of heads share it
        return self.once(("dense", heads, device), lambda: self._dense(heads, device))

    def blind(self, heads: int, device: torch.device) -> Bool[Tensor, "#b #h #n 1"] | None:
        """Queries that see no key at all, or None where it is known that there are none."""
        heads = heads if self.per_head else 1
        return self.once(("blind", heads, device), lambda: self._blind(heads, device))

    def _dense(self, heads: int, device: torch.device) -> Tensor:
        per_query = self.causal or self.documents is not None or self.pattern is not None
        b = torch.arange(self.rows, device=device).view(-1, 1, 1, 1)
        h = torch.arange(heads, device=device).view(1, -1, 1, 1)
        i = torch.arange(self.queries if per_query else 1, device=device).view(1, 1, -1, 1)
        j = torch.arange(self.keys, device=device).view(1, 1, 1, -1)
        return self.allowed(b, h, i, j)

    def _blind(self, heads: int, device: torch.device) -> Tensor | None:
        blind = ~self.dense(heads, device).any(-1, keepdim=True)
        # On an accelerator the question would wait for the device, and it would cut a compiled graph in two; a masked
        # fill is cheaper there.
        if device.type == "cpu" and not torch.compiler.is_compiling() and not blind.any():
            return None
        return blind
