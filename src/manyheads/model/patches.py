"""Series cut into patches, and patches turned into vectors; every channel is a sequence of its own.

Patches shorten the sequence by the stride, and a patch says more than a step (Nie et al. 2023, PatchTST).
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from manyheads.errors import UserError


def cut(x: Float[Tensor, "b t k"], patch: int, stride: int) -> Float[Tensor, "b n k p"]:
    """Patches of `patch` steps, one every `stride`; what is left over at the end is dropped."""
    return x.unfold(1, patch, stride)


def lengthened(x: Float[Tensor, "b t k"], steps: int) -> Float[Tensor, "b t_and_steps k"]:
    """The last step again, `steps` times: patches cut out of it then reach the end of x, and a stride beyond."""
    return torch.cat((x, x[:, -1:].expand(-1, steps, -1)), dim=1)


def overlapping(history: int, patch: int, stride: int) -> int:
    """How many patches a history has, lengthened by a stride; a UserError where that makes no sense."""
    if patch > history:
        raise UserError(
            f"data.patch={patch} is longer than data.history={history}; take a shorter patch or a longer history."
        )
    if not 1 <= stride <= patch:
        raise UserError(
            f"data.stride={stride} has to lie between 1 and data.patch={patch}, or steps between patches are not read."
        )
    return (history - patch) // stride + 2


class PatchEmbedding(nn.Module):
    """A vector for each patch: its values, which of them are missing, and what is known of its steps, each linearly.

    Where nothing is missing, this is the linear embedding of PatchTST.
    """

    def __init__(self, dim: int, patch: int, known: int) -> None:
        super().__init__()
        self.values = nn.Linear(2 * patch, dim)
        self.known = KnownPatch(dim, patch, known)

    def forward(
        self,
        values: Float[Tensor, "b n c p"],
        missing: Float[Tensor, "b n c p"],
        known: Float[Tensor, "b n f p"],
    ) -> Float[Tensor, "bc n dim"]:
        """Sequences of one channel each, those of a window side by side. missing: 1 where the value is, which is 0."""
        x = rearrange(torch.cat((values, missing), dim=-1), "b n c p -> (b c) n p")
        return self.values(x.to(self.values.weight.dtype)) + self.known(known, values.size(2))


class KnownPatch(nn.Module):
    """What is known of a patch's steps as one vector, the same for all channels."""

    def __init__(self, dim: int, patch: int, known: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(known * patch, dim, bias=False) if known else None

    def forward(self, known: Float[Tensor, "b n f p"], channels: int) -> Float[Tensor, "bc n dim"] | float:
        if self.weigh is None:
            return 0.0
        # Before the channels are told apart: the product is made once for all of them.
        x = self.weigh(known.flatten(2).to(self.weigh.weight.dtype))
        return repeat(x, "b n dim -> (b c) n dim", c=channels)
