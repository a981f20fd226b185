"""One trained vector per position."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyheads.errors import UserError
from manyheads.position.base import Position, Start


class Learned(Position):
    """A table added to the embeddings (Gehring et al. 2017); it knows no position beyond `limit`."""

    def __init__(self, dim: int, heads: int, head_dim: int, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.table = nn.Embedding(limit, dim)

    def embed(self, x: Float[Tensor, "b n dim"], start: Start) -> Float[Tensor, "b n dim"]:
        n = x.size(1)
        end = int(start.max()) + n if isinstance(start, Tensor) else start + n
        if end > self.limit:
            raise UserError(
                f"A sequence of {end} tokens is longer than position.limit={self.limit}: shorten it, "
                "or train with a larger limit or with position=rope."
            )
        steps = torch.arange(n, device=x.device).unsqueeze(0)
        return x + self.table(steps + (start.unsqueeze(1) if isinstance(start, Tensor) else start)).to(x.dtype)
