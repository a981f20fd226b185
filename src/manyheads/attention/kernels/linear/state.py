"""Decoding in constant memory: all earlier keys of a row and key-value head are one matrix of sums."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from manyheads.attention.features import FeatureMap


class State(NamedTuple):
    """sums: Σ φ(k) [v, 1]ᵀ. Those of a stabilised feature map are relative to `level`, the largest top of a key, and
    have a last row, Σ [v, 1], for its floor; of another one, level is None.
    """

    sums: Float[Tensor, "b g F d1"]
    level: Float[Tensor, "b g"] | None

    def rows(self, which: Tensor) -> "State":
        return State(*(None if x is None else x[which] for x in self))


def summed(
    k: Float[Tensor, "b g m d"], v: Float[Tensor, "b g m d"], seen: Bool[Tensor, "b m"] | None, feature: FeatureMap
) -> State:
    """The state after these keys, or after those of them that are `seen`."""
    exact = torch.promote_types(v.dtype, torch.float32)
    keys, top = feature.keys(k.to(exact))
    values = pad(v.to(exact), (0, 1), value=1.0)
    if seen is not None:
        hidden = ~seen[:, None, :, None]
        keys, values = keys.masked_fill(hidden, 0.0), values.masked_fill(hidden, 0.0)
        top = None if top is None else top.masked_fill(hidden.squeeze(-1), torch.finfo(exact).min / 4)
    if top is None:
        return State(keys.transpose(2, 3) @ values, None)
    level = top.amax(-1)
    keys = pad(keys * (top - level.unsqueeze(-1)).exp_().unsqueeze(-1), (0, 1), value=1.0)
    return State(keys.transpose(2, 3) @ values, level)


def merged(a: State, b: State) -> State:
    """The state after the keys of both."""
    if a.level is None:
        return State(a.sums + b.sums, None)
    level = torch.maximum(a.level, b.level)
    return State(sum(_lowered(x, level) for x in (a, b)), level)


def _lowered(state: State, level: Tensor) -> Tensor:
    """The sums relative to a higher level; those of the floor have none."""
    factor = (state.level - level).exp_()[..., None, None]
    return torch.cat((state.sums[:, :, :-1] * factor, state.sums[:, :, -1:]), dim=2)


def read(q: Float[Tensor, "b h n d"], state: State, feature: FeatureMap, eps: float) -> Float[Tensor, "b h n d"]:
    """What queries find in a state, in the type of its sums."""
    queries = feature.queries(q.to(state.sums.dtype))
    if feature.stabilised:
        queries = torch.cat((queries, feature.floor * queries.sum(-1, keepdim=True)), dim=-1)
    b, h, n, features = queries.shape
    found = queries.view(b, state.sums.size(1), -1, features) @ state.sums
    found = found.view(b, h, n, found.size(-1))
    total = found[..., -1:] + eps
    return found[..., :-1] / total.masked_fill(total == 0, 1.0)


def advance(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    feature: FeatureMap,
    eps: float,
    state: State | None,
) -> tuple[Float[Tensor, "b h n d"], State]:
    """One token after the other: its key joins the state, then its query reads."""
    found = []
    for i in range(q.size(2)):
        new = summed(k[:, :, i : i + 1], v[:, :, i : i + 1], None, feature)
        state = new if state is None else merged(state, new)
        found.append(read(q[:, :, i : i + 1], state, feature, eps))
    return torch.cat(found, dim=2).to(v.dtype), state
