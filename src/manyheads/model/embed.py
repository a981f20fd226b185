"""Token ids to vectors."""

from jaxtyping import Float, Int
from torch import Tensor, nn


class Embedding(nn.Module):
    """A table of vectors, scaled by √dim so that they weigh as much as positions (Vaswani et al. 2017, section 3.4)."""

    def __init__(self, vocabulary: int, dim: int, pad: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, dim, padding_idx=pad)
        self.scale = dim**0.5

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n dim"]:
        return self.table(tokens) * self.scale
