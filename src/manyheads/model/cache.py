"""What decoding remembers: keys and values of key-value heads (never of query heads), one store per layer; or, where an
attention sums over keys, only the sums.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.recurrent import Prompt
from manyheads.position.base import Start


class LayerCache:
    """Keys and values of one layer: those of its own tokens grow, those of the context are made once.

    Own tokens are stored per row (b·width rows); the context per sentence, since the beams of a sentence share it.
    A recurrent attention keeps `state` instead of own keys and values: tensors whose size no step changes.
    """

    def __init__(self) -> None:
        self.own: tuple[Tensor, Tensor] | None = None
        self.context: tuple[Tensor, Tensor] | None = None
        self.state: Any = None
        self._filled = 0

    def append(
        self, k: Float[Tensor, "r g n d"], v: Float[Tensor, "r g n d"], start: Start
    ) -> tuple[Float[Tensor, "r g m d"], Float[Tensor, "r g m d"]]:
        """Stores n new positions from `start` on; returns all that has been stored."""
        if isinstance(start, int):
            self._filled = start + k.size(2)
            self._make_room(k, self._filled)
            for store, new in zip(self.own, (k, v), strict=True):
                store[:, :, start : start + k.size(2)] = new
            return tuple(store[:, :, : start + k.size(2)] for store in self.own)
        # No row is longer than what was stored so far and this token: counting spares asking the device.
        self._filled += 1
        self._make_room(k, self._filled)
        rows = torch.arange(k.size(0), device=k.device)
        for store, new in zip(self.own, (k, v), strict=True):
            store[rows, :, start] = new[:, :, 0]
        return self.own

    def advance(
        self,
        attention: Attention,
        q: Float[Tensor, "r h n d"],
        k: Float[Tensor, "r g n d"],
        v: Float[Tensor, "r g n d"],
        start: Start,
    ) -> Float[Tensor, "r h n d"]:
        """What new tokens read that stand behind all earlier ones; a recurrent attention's state goes on.

        Keys of a prompt wait in the store until the first step says how many of each row are real, and then go.
        """
        if self.own is not None:
            self.state, self.own = Prompt(*(store[:, :, : self._filled] for store in self.own), start), None
        out, self.state = attention.advance(q, k, v, self.state)
        return out

    def _make_room(self, k: Tensor, length: int) -> None:
        if self.own is not None and self.own[0].size(2) >= length:
            return
        rows, groups, _, size = k.shape
        # Doubling: n steps copy 2n positions in all instead of n²/2.
        room = max(length, 16) if self.own is None else 2 * length
        wider = tuple(k.new_zeros(rows, groups, room, size) for _ in range(2))
        if self.own is not None:
            for new, old in zip(wider, self.own, strict=True):
                new[:, :, : old.size(2)] = old
        self.own = wider

    def select(self, rows: Int[Tensor, "r"], sentences: Int[Tensor, "b"] | None) -> None:
        """Keeps and orders rows; `sentences`, where given, says which contexts stay."""
        if self.own is not None:
            self.own = tuple(store[rows] for store in self.own)
        if self.state is not None:
            self.state = self.state.rows(rows)
        if self.context is not None and sentences is not None:
            self.context = tuple(store[sentences] for store in self.context)
