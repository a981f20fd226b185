"""Any mask as one that the chunked kernel knows: queries in a row on their keys, or behind all keys."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from manyheads.attention.mask import Mask

Read = Callable[[Tensor, int, Tensor | None, Tensor | None], Tensor]
"""(q, offset, seen (b, m) | None, documents (b, m) | None) -> out; offset: the position of query 0 among the keys."""


def place(q: Float[Tensor, "b h n d"], mask: Mask, read: Read) -> Float[Tensor, "b h n d"]:
    """What `read` gives for queries that are put where it can compute them."""
    if not mask.causal or mask.queries == 1:
        # All queries of a row see the same keys: let them stand behind the last one.
        return read(q, mask.keys, _seen_by_all(q, mask), None)
    seen = mask.once(("linear", "seen", q.device), lambda: _real(mask))
    if isinstance(mask.offset, Tensor):
        return _on_grid(q, mask, seen, read)
    return _cropped(q, mask.offset, mask, seen, read)


def _seen_by_all(q: Tensor, mask: Mask) -> Bool[Tensor, "b m"] | None:
    if mask.full:
        return None
    return mask.dense(1, q.device)[:, 0, 0].expand(q.size(0), -1)


def _real(mask: Mask) -> Bool[Tensor, "b m"] | None:
    if mask.lengths is None:
        return None
    return torch.arange(mask.keys, device=mask.lengths.device) < mask.lengths.unsqueeze(1)


def _on_grid(q: Tensor, mask: Mask, seen: Tensor | None, read: Read) -> Tensor:
    """Rows that start at positions of their own are laid on one line of positions, with gaps that nobody reads."""
    offset: Int[Tensor, "b"] = mask.offset
    first = min(0, int(offset.min()))
    at = (offset - first).unsqueeze(1) + torch.arange(q.size(2), device=q.device)
    at = at.view(q.size(0), 1, -1, 1).expand_as(q)
    line = q.new_zeros(*q.shape[:2], int(at.max()) + 1, q.size(3)).scatter(2, at, q)
    return _cropped(line, first, mask, seen, read).gather(2, at)


def _cropped(q: Tensor, offset: int, mask: Mask, seen: Tensor | None, read: Read) -> Tensor:
    """Queries before the first key see nothing; with documents, those behind the last key belong to none."""
    n = q.size(2)
    before = min(n, max(0, -offset))
    behind = 0 if mask.documents is None else min(n - before, max(0, offset + n - mask.keys))
    if before == behind == 0:
        return read(q, offset, seen, mask.documents)
    out = read(q[:, :, before : n - behind], offset + before, seen, mask.documents)
    return pad(out, (0, 0, before, behind))
