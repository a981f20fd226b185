"""Rules that weigh keys one by one, and whose kernels agree: all that softmax and sigmoid attention share."""

import logging
from collections.abc import Callable
from functools import cache

from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.kernels.registry import ACCELERATED, DENSE, SPARSE, find, names
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.errors import UserError

log = logging.getLogger(__name__)

Compute = Callable[[Tensor, Tensor, Tensor, Mask, Bias | None, float, Tensor | None], Tensor]

ANY = "any"
"""The kernel that stands for the best one that can run."""


@cache
def say_once(sentence: str) -> None:
    """A warning, once in a process: all layers of a model say the same."""
    log.warning("%s", sentence)


class Exact(Attention):
    """A rule, a pattern and a kernel.

    kernel: which exact computation to use (a module of `attention/kernels/`), or `any`: the fastest known one that can
        run on the inputs at hand.
    dropout: share of the weights that training drops; never active in evaluation.
    strict: raise where the kernel cannot run, instead of handing over to another exact one.
    pattern: static sparsity within one sequence; across sequences (cross-attention) every key is seen.
    """

    exact = True

    def __init__(
        self,
        heads: int,
        head_dim: int,
        layer: int,
        kv_heads: int | None,
        kernel: str,
        dropout: float,
        strict: bool,
        pattern: Pattern | None,
    ) -> None:
        super().__init__(heads, head_dim, layer, kv_heads)
        if not 0 <= dropout < 1:
            raise UserError(f"attention.dropout={dropout} is no share of weights: set 0 or more, and less than 1.")
        if dropout and kernel != ANY and not getattr(find(kernel), "DROPS", True):
            raise UserError(f"attention.kernel={kernel} cannot drop weights: set attention.dropout=0 or kernel=any.")
        self.dropout, self.strict = dropout, strict
        self.pattern = None if pattern is None else pattern.at(layer)
        self.kernel = self._used = kernel
        # Functions, not modules: a module cannot be copied with the model, and a look-up breaks a compiled graph.
        order = DENSE if pattern is None else SPARSE
        order = [name for name in order if name in names()]
        order = order if kernel == ANY else [kernel, *(name for name in order if name != kernel)]
        self._kernels = tuple((name, find(name).why_not, find(name).attend) for name in order)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        mask = mask.within(self.pattern)
        dropout, shift = self.dropout if self.training else 0.0, self.shift(mask, q)
        return self.choose(q, k, mask, bias, shift)(q, k, v, mask, bias, dropout, shift)

    def shift(self, mask: Mask, q: Tensor) -> Tensor | None:
        """None: weights are softmax(scores). A tensor (b|1, h|1, n): they are sigmoid(scores + shift)."""
        return None

    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        if not self.strict:
            return None
        mask = mask.within(self.pattern)
        return self._kernels[0][1](q, k, mask, bias, self.shift(mask, q))

    @property
    def used(self) -> str:
        return self._used

    def choose(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> Compute:
        """The computation for these inputs: the chosen kernel's, or that of the first other one that can run."""
        refused = None
        for name, why_not, attend in self._kernels:
            if name in ACCELERATED and name != self.kernel and q.device.type == "cpu":
                continue
            reason = why_not(q, k, mask, bias, shift)
            if reason is None:
                self._note(name, refused)
                return attend
            if self.strict:
                raise UserError(reason)
            refused = refused or reason
        raise UserError(refused)

    def _note(self, name: str, refused: str | None) -> None:
        """Remembers what computes, and says once when it is not what was asked for."""
        if self._used == name:
            return
        self._used = name
        if name != self.kernel and self.kernel != ANY:
            say_once(f"attention.kernel={self.kernel} hands over to {name}, equally exact: {refused}")

    def extra_repr(self) -> str:
        pattern = "" if self.pattern is None else f", pattern={self.pattern}"
        return f"{super().extra_repr()}, kernel={self.kernel}, dropout={self.dropout}{pattern}"
