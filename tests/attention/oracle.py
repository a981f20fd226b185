"""Softmax attention and its masks once more, in plain loops: what the package is tested against.

Nothing of the package computes here. `Case` only hands the same facts to `Mask` that `sees` reads for itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from manyheads.attention.mask import Mask
from manyheads.attention.patterns import base as patterns


@dataclass(frozen=True)
class Pattern(patterns.Pattern):
    """Static sparsity from a function of (head, absolute query position, key) that works on numbers and tensors."""

    rule: Callable

    def allowed(self, h, i, j, length, causal):
        return self.rule(h, i, j)


@dataclass(frozen=True)
class Case:
    """A mask of three rows in plain numbers."""

    name: str
    queries: int
    keys: int
    causal: bool = False
    lengths: list[int] | None = None
    documents: list[list[int]] | None = None
    pattern: Callable | None = None
    offset: int | list[int] | None = None

    def mask(self) -> Mask:
        def made(numbers):
            return torch.tensor(numbers) if isinstance(numbers, list) else numbers

        return Mask(
            queries=self.queries,
            keys=self.keys,
            causal=self.causal,
            lengths=made(self.lengths),
            documents=made(self.documents),
            pattern=Pattern(self.pattern) if self.pattern else None,
            offset=made(self.offset),
        )

    def position(self, b: int, i: int) -> int:
        """Where query i stands among the keys."""
        if self.offset is None:
            return i + self.keys - self.queries
        return i + (self.offset[b] if isinstance(self.offset, list) else self.offset)

    def sees(self, b: int, h: int, i: int, j: int) -> bool:
        position = self.position(b, i)
        if self.causal and j > position:
            return False
        if self.lengths is not None and j >= self.lengths[b]:
            return False
        if self.documents is not None:
            inside = 0 <= position < self.keys
            if not inside or self.documents[b][position] != self.documents[b][j]:
                return False
        return self.pattern is None or bool(self.pattern(h, position, j))


def by_head(h, i, j):
    """Differs between heads, and is not symmetric in i and j."""
    return (i + 2 * j + h) % 3 != 0


def half_blind(h, i, j):
    """Some queries of some heads see nothing, and which ones depends on the head."""
    return ((i + h) % 3 != 1) & (j >= 0)


def cases(n: int) -> list[Case]:
    """Every kind of mask around length n, for three rows."""
    lengths = [n, max(1, n // 2), 1]
    some_empty = [0, n, max(1, n - 1)]
    documents = [[j // 2 for j in range(n)], [0] * n, [int(j >= n // 3) for j in range(n)]]
    everything = Case("everything", n, n, True, [n, n, max(1, n - 2)], documents, by_head)
    return [
        Case("full", n, n),
        Case("causal", n, n, causal=True),
        Case("lengths", n, n, lengths=lengths),
        Case("causal+lengths", n, n, causal=True, lengths=lengths),
        Case("documents", n, n, documents=documents),
        Case("causal+documents", n, n, causal=True, documents=documents),
        Case("pattern", n, n, pattern=by_head),
        Case("causal+pattern", n, n, causal=True, pattern=by_head),
        Case("blind-queries", n, n, pattern=half_blind),
        Case("empty-row", n, n, lengths=some_empty),
        Case("causal+empty-row", n, n, causal=True, lengths=some_empty),
        Case("one-cached-query", 1, n, causal=True),
        Case("cached-rows", 1, n, causal=True, lengths=lengths, offset=[k - 1 for k in lengths]),
        Case("cached-chunk", 2, n + 2, causal=True, pattern=by_head),
        Case("offset", n, n + 2, causal=True, offset=1),
        Case("offset-top-left", n, n + 2, causal=True, offset=0),
        Case("offset-rows", n, n + 3, causal=True, offset=[0, 3, 1]),
        Case("offset-documents", 2, n + 1, documents=[[j // 2 for j in range(n + 1)]] * 3, offset=[0, n - 1, n // 2]),
        Case("outside-documents", n + 2, n, documents=documents),
        Case("cross", n, n + 3, lengths=[n + 3, 1, n]),
        Case("cross-short", n + 3, n, lengths=lengths),
        Case("more-queries-than-keys", n + 2, n, causal=True),
        everything,
        replace(everything, name="everything-cached", queries=1, offset=[n - 1, n // 2, 0]),
    ]


def attention(
    case: Case,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: Callable | None,
    shift: torch.Tensor | None = None,
) -> torch.Tensor:
    """One query of one head of one row after the other; `bias(b, h, i, j)` gives numbers to add to the scores.

    Softmax, or with `shift` (b, h, n) sigmoid(scores + shift).
    """
    heads, share = q.size(1), q.size(1) // k.size(1)
    rows = [
        _row(case, q, k[:, h // share], v[:, h // share], bias, shift, b, h)
        for b in range(len(q))
        for h in range(heads)
    ]
    return torch.stack(rows).view(len(q), heads, case.queries, -1)


def _row(case, q, k, v, bias, shift, b: int, h: int) -> torch.Tensor:
    found = []
    for i in range(case.queries):
        seen = [j for j in range(case.keys) if case.sees(b, h, i, j)]
        scores = k[b, seen] @ q[b, h, i] / q.size(-1) ** 0.5
        if bias is not None and seen:
            scores = scores + torch.stack([torch.as_tensor(bias(b, h, i, j)) for j in seen])
        odds = scores.exp()
        weights = odds / odds.sum() if shift is None else 1 / (1 + (-scores - shift[b, h, i]).exp())
        found.append(weights @ v[b, seen] if seen else v.new_zeros(v.size(-1)))
    return torch.stack(found)
