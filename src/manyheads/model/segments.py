"""Rows that belong together, side by side in one tensor: a sum, a maximum or a softmax for each group, without padding.

No group's numbers enter another's, so what a group gets depends on nothing else in the batch.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """of (c,): the number of each row's group. groups: how many there are; each has a row."""

    of: Int[Tensor, "c"]
    groups: int

    def sum(self, x: Float[Tensor, "c k"]) -> Float[Tensor, "groups k"]:
        return x.new_zeros(self.groups, x.size(1)).index_add(0, self.of, x)

    def mean(self, x: Float[Tensor, "c k"]) -> Float[Tensor, "groups k"]:
        return self.sum(x) / self.sum(x.new_ones(x.size(0), 1))

    def max(self, x: Float[Tensor, "c k"]) -> Float[Tensor, "groups k"]:
        """Of equal ones each gets its share of the gradient."""
        start = x.new_full((self.groups, x.size(1)), float("-inf"))
        return start.scatter_reduce(0, self.of.unsqueeze(1).expand_as(x), x, "amax")

    def logsumexp(self, x: Float[Tensor, "c k"]) -> Float[Tensor, "groups k"]:
        top = self.max(x.detach())
        return self.sum((x - self.spread(top)).exp()).log() + top

    def softmax(self, x: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
        """Adds up to 1 over the rows of each group."""
        odds = (x - self.spread(self.max(x.detach()))).exp()
        return odds / self.spread(self.sum(odds))

    def spread(self, x: Float[Tensor, "groups k"]) -> Float[Tensor, "c k"]:
        """Each row gets what its group has."""
        return x[self.of]
