"""From the states of a chunk's tokens to one vector for the chunk. Padding never counts, whatever stands there.

A pool takes states (c, n, dim) and lengths (c,), all at least 1, and returns (c, dim).
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyheads.model.precision import wide


class Pool(nn.Module, ABC):
    """One vector of many."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        """The vector of each chunk."""


class Attention(Pool):
    """One learned query reads the tokens (the word attention of Yang et al. 2016, without its hidden layer)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        # A bias would be the same for every token, and softmax blind to it.
        self.query = nn.Linear(dim, 1, bias=False)

    def forward(self, states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        heard = wide(self.query(states).squeeze(-1))
        weights = heard.masked_fill(~real(states, lengths), float("-inf")).softmax(-1)
        return _weighted(weights, states)


class Mean(Pool):
    """The average."""

    def forward(self, states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        # Divided afterwards: 1/n is no number of bf16.
        return wide(_weighted(real(states, lengths), states)) / lengths.unsqueeze(1)


class Max(Pool):
    """The greatest value of each feature."""

    def forward(self, states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        return states.masked_fill(~real(states, lengths).unsqueeze(-1), float("-inf")).amax(1)


class First(Pool):
    """The state of the first token, ⟨bos⟩, whose only work it then is (the [CLS] of Devlin et al. 2019)."""

    def forward(self, states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
        return states[:, 0]


POOLS: dict[str, type[Pool]] = {"attention": Attention, "mean": Mean, "max": Max, "first": First}


def last(states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Float[Tensor, "c dim"]:
    """The state of the last real token: of a causal model the only one that has read the whole chunk."""
    return states[torch.arange(states.size(0), device=states.device), lengths - 1]


def real(states: Float[Tensor, "c n dim"], lengths: Int[Tensor, "c"]) -> Bool[Tensor, "c n"]:
    return torch.arange(states.size(1), device=states.device) < lengths.unsqueeze(1)


def _weighted(weights: Tensor, states: Tensor) -> Tensor:
    """Σ weight · state as a product of matrices: nothing of the size of the states is made."""
    return (weights.to(states.dtype).unsqueeze(1) @ states).squeeze(1)
