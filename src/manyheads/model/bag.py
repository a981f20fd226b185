"""A straight way from the words of a document to its labels, beside a body that reads them in order."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyheads.model.pool import real
from manyheads.model.precision import wide


class BagOfWords(nn.Module):
    """A linear model over which tokens occur.

    A token weighs 1 + log of its count in all of the chunks (Salton and Buckley 1988; scikit-learn's `sublinear_tf`),
    and the weights of a document have the length √dim, that of a normed state: both ways then learn at the same rate.
    It begins at zero. How rare a token is need not be known: the optimizer's steps are the same for rare ones.

    tokens: ids from 0 on. special: those that stand in every document, and say nothing.
    """

    def __init__(self, tokens: int, labels: int, dim: int, special: tuple[int, ...]) -> None:
        super().__init__()
        self.scale, self.special = dim**0.5, list(special)
        self.table = nn.Parameter(torch.zeros(tokens, labels))

    def forward(
        self, ids: Int[Tensor, "c n"], lengths: Int[Tensor, "c"], document: Int[Tensor, "c"], documents: int
    ) -> Float[Tensor, "b k"]:
        """document: to which of the `documents` each chunk belongs; what stands behind `lengths` is not read."""
        tokens = len(self.table)
        place = document.unsqueeze(1) * tokens + ids
        counts = torch.zeros(documents * tokens, device=ids.device, dtype=wide(self.table).dtype)
        # Sums of ones: exact in any order.
        counts = counts.index_add(0, place.flatten(), real(ids, lengths).flatten().to(counts.dtype))
        counts = counts.view(documents, tokens)
        counts[:, self.special] = 0
        weights = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0)
        return wide(self.scale * F.normalize(weights, dim=1).to(self.table.dtype) @ self.table)
