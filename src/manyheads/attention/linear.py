"""Linear attention: feature maps instead of the softmax, so that cost grows with length and not with its square."""

from collections.abc import Callable

import torch
from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.choice import Choice
from manyheads.attention.features import Elu, FeatureMap
from manyheads.attention.kernels.linear.reference import probabilities
from manyheads.attention.kernels.linear.registry import PREFERENCE, find
from manyheads.attention.kernels.linear.state import State, advance, summed
from manyheads.attention.mask import Mask
from manyheads.attention.recurrent import Prompt
from manyheads.attention.weights import of_all, seen
from manyheads.errors import UserError

Compute = Callable[[Tensor, Tensor, Tensor, Mask, FeatureMap, float], Tensor]


class Linear(Attention):
    """φ(q)ᵀ S / (φ(q)ᵀ z + eps) with S = Σ φ(k) vᵀ, z = Σ φ(k), φ = elu + 1 (Katharopoulos et al. 2020, eq. 4 to 7).

    Another function than softmax attention, not an approximation of it: weights trained with one are lost on the other.

    kernel: which computation of this rule to use (a module of `attention/kernels/linear/`), or `any`: the fastest known
        one that can run on the inputs at hand.
    strict: raise where the kernel cannot run, instead of handing over to another one of this rule.
    eps: what is added to the denominator.
    chunk: how many positions the chunked kernel takes at once.
    """

    exact = False
    recurrent = True

    def __init__(
        self,
        heads: int,
        head_dim: int,
        layer: int,
        kv_heads: int | None,
        kernel: str,
        strict: bool,
        eps: float,
        chunk: int,
    ) -> None:
        super().__init__(heads, head_dim, layer, kv_heads)
        if chunk < 1 or eps < 0:
            raise UserError(f"attention.chunk={chunk} must be 1 or more, and attention.eps={eps} 0 or more.")
        self.kernel, self.strict, self.eps, self.chunk = kernel, strict, eps, chunk
        self.choice = Choice(kernel, find, PREFERENCE, strict, "the same function")
        self._used = self.choice.first

    def feature(self) -> FeatureMap:
        """The feature map of this pass."""
        return Elu(self.chunk)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        reason, feature = self._refuses(mask, bias), self.feature()
        if reason is not None:
            raise UserError(reason)
        return self._choose(q, k, mask, feature)(q, k, v, mask, feature, self.eps)

    def weights(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None, rows: Tensor | None = None) -> Tensor:
        """φ(q) · φ(k) over its sum: what stands before the values once the products are written out in pairs."""
        rows = of_all(mask, rows, q.device)
        return probabilities(q[:, :, rows], k, seen(mask, q.size(1), rows), self.feature(), self.eps)

    def advance(self, q: Tensor, k: Tensor, v: Tensor, state: State | Prompt | None) -> tuple[Tensor, State]:
        """One new token after the other (see `recurrent`), in memory that does not grow."""
        feature = self.feature()
        if isinstance(state, Prompt):
            lengths = torch.as_tensor(state.lengths, device=k.device).view(-1, 1)
            seen = torch.arange(state.k.size(2), device=k.device) < lengths
            state = summed(state.k, state.v, seen, feature)
        return advance(q, k, v, feature, self.eps, state)

    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        reason = self._refuses(mask, bias)
        return reason or self.choice.why_not(q, k, mask, self.feature())

    def _refuses(self, mask: Mask, bias: Bias | None) -> str | None:
        name = f"attention={type(self).__name__.lower()}"
        if bias is not None:
            return f"{name} has no scores to add position's bias to: set position=rope."
        if mask.pattern is not None:
            return f"{name} sums over keys and cannot leave out pairs: take attention=dense with this pattern."
        if mask.documents is None:
            return None
        if not mask.causal and mask.queries > 1:
            return f"{name} reads packed documents left to right only: give each a row of its own, or attention=dense."
        if not _whole(mask):
            return f"{name} needs each document of a row in one piece: sort the row by document, or attention=dense."
        return None

    def _choose(self, q: Tensor, k: Tensor, mask: Mask, feature: FeatureMap) -> Compute:
        """The computation for these inputs: the chosen kernel's, or that of the first other one that can run."""
        name, attend, refused = self.choice.of(q, k, mask, feature)
        if self._used != name:
            self._used = name
            self.choice.tell(name, refused)
        return attend

    @property
    def used(self) -> str:
        return f"{super().used}:{self._used}"

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel={self.kernel}, eps={self.eps}"


def _whole(mask: Mask) -> bool:
    """Whether no document of a row is interrupted by another. On an accelerator the question would wait for it."""

    def check() -> bool:
        documents = mask.documents
        pieces = (documents.diff(dim=-1) != 0).sum(-1)
        kinds = (documents.sort(dim=-1).values.diff(dim=-1) != 0).sum(-1)
        return bool(torch.equal(pieces, kinds))

    return mask.documents.device.type != "cpu" or mask.once(("documents", "whole"), check)
