"""Attention by feature maps once more, query by query in plain loops: what the package is tested against.

Nothing of the package computes here. `keys` of a map are given all the keys that a query sees, since a stabiliser may
depend on them.
"""

import torch
from oracle import Case


def elu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


class EluMap:
    def queries(self, q: torch.Tensor) -> torch.Tensor:
        return elu(q)

    def keys(self, k: torch.Tensor) -> torch.Tensor:
        return elu(k)


class FavorMap:
    """Choromanski et al. 2021, lemma 1, with directions w (F, d); stabilisers are constants."""

    def __init__(self, w: torch.Tensor, floor: float) -> None:
        self.w, self.floor = w, floor

    def queries(self, q: torch.Tensor) -> torch.Tensor:
        logs = self.w @ (q / q.numel() ** 0.25)
        return (logs - logs.max().detach()).exp() / len(self.w) ** 0.5 + self.floor

    def keys(self, k: torch.Tensor) -> torch.Tensor:
        k = k / k.size(1) ** 0.25
        logs = k @ self.w.T - k.square().sum(1, keepdim=True) / 2
        return (logs - logs.max().detach()).exp() / len(self.w) ** 0.5 + self.floor


def attention(case: Case, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, feature, eps: float) -> torch.Tensor:
    """One query of one head of one row after the other."""
    heads, share = q.size(1), q.size(1) // k.size(1)
    found = []
    for b in range(len(q)):
        for h in range(heads):
            keys, values = k[b, h // share], v[b, h // share]
            found += [_query(case, q[b, h, i], keys, values, feature, eps, (b, h, i)) for i in range(case.queries)]
    return torch.stack(found).view(len(q), heads, case.queries, -1)


def _query(case, q, k, v, feature, eps: float, at: tuple[int, int, int]) -> torch.Tensor:
    seen = [j for j in range(case.keys) if case.sees(*at, j)]
    if not seen:
        return v.new_zeros(v.size(-1))
    weights = feature.keys(k[seen]) @ feature.queries(q)
    return weights @ v[seen] / (weights.sum() + eps)
