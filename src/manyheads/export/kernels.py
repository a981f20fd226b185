"""Attention that a graph can hold: kernels that look at their numbers, or are written for one machine, give way.

Softmax goes to torch's own `sdpa`, everything else to the definition of its rule (`reference`): equally exact, and of
quadratic cost where a pattern or a linear rule saved some.
"""

from types import MethodType

from torch import Tensor, nn

from manyheads.attention.auto import Auto
from manyheads.attention.base import Attention
from manyheads.attention.choice import Choice
from manyheads.attention.exact import Exact
from manyheads.attention.kernels.linear.registry import find as find_linear
from manyheads.attention.kernels.registry import find
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.rules import SOFTMAX
from manyheads.attention.sigmoid import Sigmoid
from manyheads.attention.softmax import Softmax
from manyheads.errors import UserError


def make_plain(model: nn.Module) -> dict[str, str]:
    """Changes every attention of `model`; the kernel that each kind now has."""
    return {type(module).__name__.lower(): _plain(module) for module in list(model.modules()) if _reads(module)}


def _reads(module: nn.Module) -> bool:
    return isinstance(module, Attention)


def _plain(attention: Attention) -> str:
    if isinstance(attention, Auto) and attention.rule != SOFTMAX:
        return attention.rule  # which is a module of its own
    if isinstance(attention, Linear):
        return _choose(attention, "reference", find_linear)
    if isinstance(attention, Sigmoid):
        attention.shift = MethodType(_counted_shift, attention)
        return _choose(attention, "reference", find)
    if isinstance(attention, Softmax):
        return _choose(attention, "sdpa", find)
    raise UserError(f"{type(attention).__name__} has no form that a graph can hold: export with format=safetensors.")


def _choose(attention: Exact | Linear, kernel: str, find: object) -> str:
    attention.choice = Choice(kernel, find, (), True, "the same")
    return kernel


def _counted_shift(self: Sigmoid, mask: Mask, q: Tensor) -> Tensor:
    """As `Sigmoid.shift`, by counting every pair instead of looking for tiles that hold some."""
    if self.count is not None:
        return Sigmoid._shift(self, mask, q.device)
    seen = mask.dense(self.heads, q.device).expand(-1, -1, mask.queries, mask.keys).sum(-1)
    return -seen.clamp(min=1).float().log()
