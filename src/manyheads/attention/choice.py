"""Which kernel of a rule computes: the chosen one, or the first other one that can run on the inputs at hand."""

import logging
from collections.abc import Callable, Iterable
from functools import cache
from types import ModuleType
from typing import Any

from torch import Tensor

from manyheads.errors import UserError

log = logging.getLogger(__name__)

ANY = "any"
"""The kernel that stands for the best one that can run."""

ACCELERATED = frozenset({"flash"})
"""Kernels that nobody gets on a CPU without asking for them by name: there, an interpreter runs them for tests."""


@cache
def say_once(sentence: str) -> None:
    """A warning, once in a process: all layers of a model say the same."""
    log.warning("%s", sentence)


class Choice:
    """The kernels of one rule, in the order in which they take over.

    kernel: the name of one of them, or `any`. find: a kernel's module by name. order: which comes first where any will
        do. strict: hand over to none but the chosen one. same: how the others agree with it, for the warning.
    """

    def __init__(
        self, kernel: str, find: Callable[[str], ModuleType], order: Iterable[str], strict: bool, same: str
    ) -> None:
        self.kernel, self.strict, self.same = kernel, strict, same
        order = list(order) if kernel == ANY else [kernel, *(name for name in order if name != kernel)]
        # Functions, not modules: a module cannot be copied with the model, and a look-up breaks a compiled graph.
        self.kernels = tuple((name, find(name).why_not, find(name).attend) for name in order)

    @property
    def first(self) -> str:
        return self.kernels[0][0]

    def put_first(self, first: str) -> None:
        if self.first != first:
            self.kernels = tuple(sorted(self.kernels, key=lambda kernel: kernel[0] != first))

    def of(self, q: Tensor, *given: Any) -> tuple[str, Callable[..., Any], str | None]:
        """Name and computation of the kernel for these inputs (those of each `why_not`), and why none before it ran.

        A UserError says why none can.
        """
        refused = None
        for name, why_not, attend in self.kernels:
            if name in ACCELERATED and name != self.kernel and q.device.type == "cpu":
                continue
            reason = why_not(q, *given)
            if reason is None:
                return name, attend, refused
            refused = refused or reason
            if self.strict and self.kernel != ANY:
                break
        raise UserError(refused)

    def why_not(self, q: Tensor, *given: Any) -> str | None:
        """Why a strict choice cannot run; another one says so when it is asked to."""
        if not self.strict:
            return None
        try:
            self.of(q, *given)
        except UserError as reason:
            return str(reason)
        return None

    def tell(self, name: str, refused: str | None) -> None:
        """Says once when what computes is not what was asked for."""
        if self.kernel not in (name, ANY):
            say_once(f"attention.kernel={self.kernel} hands over to {name}, {self.same}: {refused}")
