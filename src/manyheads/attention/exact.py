"""Rules that weigh keys one by one, and whose kernels agree: all that softmax and sigmoid attention share."""

from collections.abc import Callable

from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.choice import ANY, Choice
from manyheads.attention.kernels.registry import DENSE, SPARSE, find
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.attention.patterns.of_heads import of_heads
from manyheads.attention.weights import weigh
from manyheads.errors import UserError

Compute = Callable[[Tensor, Tensor, Tensor, Mask, Bias | None, float, Tensor | None], Tensor]


class Exact(Attention):
    """A rule, a pattern and a kernel.

    kernel: which exact computation to use (a module of `attention/kernels/`), or `any`: the fastest known one that can
        run on the inputs at hand.
    dropout: share of the weights that training drops; never active in evaluation.
    strict: raise where the kernel cannot run (`any`: where none can), instead of handing over to another exact one.
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
        self.choice = Choice(kernel, find, DENSE if pattern is None else SPARSE, strict, "equally exact")

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        mask = mask.within(self.pattern)
        dropout, shift = self.dropout if self.training else 0.0, self.shift(mask, q)
        return self.choose(q, k, mask, bias, shift)(q, k, v, mask, bias, dropout, shift)

    def weights(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None, rows: Tensor | None = None) -> Tensor:
        mask = mask.within(self.pattern)
        return weigh(q, k, mask, bias, self.shift(mask, q), rows)

    def keep(self, heads: tuple[int, ...], kv_heads: tuple[int, ...]) -> None:
        super().keep(heads, kv_heads)
        self.pattern = of_heads(self.pattern, heads)

    def shift(self, mask: Mask, q: Tensor) -> Tensor | None:
        """None: weights are softmax(scores). A tensor (b|1, h|1, n): they are sigmoid(scores + shift)."""
        return None

    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        mask = mask.within(self.pattern)
        return self.choice.why_not(q, k, mask, bias, self.shift(mask, q))

    @property
    def used(self) -> str:
        return self._used

    def choose(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> Compute:
        """The computation for these inputs: the chosen kernel's, or that of the first other one that can run."""
        name, attend, refused = self.choice.of(q, k, mask, bias, shift)
        self._note(name, refused)
        return attend

    def _note(self, name: str, refused: str | None) -> None:
        """Remembers what computes."""
        if self._used != name:
            self._used = name
            self.choice.tell(name, refused)

    def extra_repr(self) -> str:
        pattern = "" if self.pattern is None else f", pattern={self.pattern}"
        return f"{super().extra_repr()}, kernel={self.kernel}, dropout={self.dropout}{pattern}"
