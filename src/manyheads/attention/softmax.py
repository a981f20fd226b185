"""Softmax attention, the rule of 2017; how it is computed is its kernel's business."""

import logging
from collections.abc import Callable

from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.kernels.registry import PREFERENCE, find
from manyheads.attention.mask import Mask
from manyheads.errors import UserError

log = logging.getLogger(__name__)

Compute = Callable[[Tensor, Tensor, Tensor, Mask, Bias | None, float], Tensor]


class Softmax(Attention):
    """softmax(q kᵀ / √d + bias) v (Vaswani et al. 2017, eq. 1), grouped queries included (Ainslie et al. 2023).

    kernel: which exact computation to use (a module of `attention/kernels/`).
    dropout: share of the weights that training drops; never active in evaluation.
    strict: raise where the kernel cannot run, instead of handing over to another exact one.
    """

    exact = True

    def __init__(
        self, heads: int, head_dim: int, kv_heads: int | None, kernel: str, dropout: float, strict: bool
    ) -> None:
        super().__init__(heads, head_dim, kv_heads)
        self.dropout, self.strict = dropout, strict
        self.kernel = self._used = kernel
        # Functions, not their module: a module cannot be copied with the model, and a look-up breaks a compiled graph.
        self._attend, self._refuses = find(kernel).attend, find(kernel).why_not

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self._runnable(q, k, mask, bias)(q, k, v, mask, bias, dropout)

    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        return self._refuses(q, k, mask, bias) if self.strict else None

    @property
    def used(self) -> str:
        return self._used

    def _runnable(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> Compute:
        reason = self._refuses(q, k, mask, bias)
        if reason is None:
            return self._attend
        if self.strict:
            raise UserError(reason)
        return self._stand_in(reason, q, k, mask, bias)

    def _stand_in(self, reason: str, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None) -> Compute:
        name = next(n for n in PREFERENCE if find(n).why_not(q, k, mask, bias) is None)
        if self._used != name:
            log.warning("attention.kernel=%s hands over to %s, equally exact: %s", self.kernel, name, reason)
            self._used = name
        return find(name).attend

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel={self.kernel}, dropout={self.dropout}"
