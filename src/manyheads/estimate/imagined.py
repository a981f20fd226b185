"""Tensors that are not there: a program runs, and only its memory and its arithmetic are counted.

Fractions are imagined (torch's FakeTensor: shape, type and device without memory). Small whole numbers and booleans are
real: lengths, tokens and masks decide which parts of a program run and how large what it makes becomes, so an attention
that plans by them takes the very path that it takes in a run. Whole numbers beyond `LIMIT`, such as a mask of all pairs
of a long text, are imagined too, and a program that asks for the value of one reads zero, or False.
"""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from manyheads.estimate.ledger import Ledger

LIMIT = 1 << 22
"""Whole numbers of a tensor up to which they are real: 32 MiB."""

CONSTANT = 1 << 10
"""Fractions that are made of real numbers alone are real up to so many, so that a constant has its value."""

aten = torch.ops.aten
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
UNKNOWN = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


class Imagined(TorchDispatchMode):
    """A context in which tensors are imagined; `ledger` counts them."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        out = self._run(func, types, args, kwargs)
        self.ledger.note(func, args, kwargs, out)
        return out

    def imagine(self, tensor: Tensor) -> Tensor:
        """The imagined form of a real tensor, counted as one that has just been made."""
        found = self.fake.from_tensor(tensor)
        self.ledger.note(aten.clone.default, (), {}, found)
        return found

    def _run(self, func: Any, types: Any, args: tuple, kwargs: dict) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if not any(isinstance(x, FakeTensor) for x in given):
            return self._decided(func, types, args, kwargs, given)
        if func is aten._local_scalar_dense.default:
            return torch.zeros((), dtype=given[0].dtype).item()
        if func in INDEXED:
            args = (args[0], [place for x in args[1] for place in _places(x)], *args[2:])
        return self._faked(func, types, args, kwargs)

    def _decided(self, func: Any, types: Any, args: tuple, kwargs: dict, given: list[Tensor]) -> Any:
        """Of real tensors, or of none: real where the result is small and whole."""
        try:
            out = self._faked(func, types, args, kwargs)
        except UNKNOWN:
            return func(*args, **kwargs)
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        limits = [CONSTANT * bool(given) if x.is_floating_point() else LIMIT for x in made]
        if all(x.numel() <= limit for x, limit in zip(made, limits, strict=True)):
            return func(*args, **kwargs)
        return out

    def _faked(self, func: Any, types: Any, args: tuple, kwargs: dict) -> Any:
        return self.fake.__torch_dispatch__(func, types, args, kwargs)


def _places(index: Tensor | None) -> list[Tensor | None]:
    """A mask as the places that it names; of a mask whose values are not known, all places."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    if isinstance(index, FakeTensor):
        return [index.new_empty(index.numel(), dtype=torch.int64) for _ in index.shape]
    return list(index.nonzero(as_tuple=True))
