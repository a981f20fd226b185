"""What lives during an imagined step, by kind, and the most that ever lives at once; and what is computed on the way.

A storage counts from the operation that makes it to the moment at which Python, or the graph of gradients, lets it go:
what autograd saves is therefore counted because it is really kept, not because a formula says so.
"""

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ROUNDING = {"cpu": 64, "cuda": 512}
"""To so many bytes each allocator rounds up."""

MAPPED = 32 << 20
"""Bytes from which the C library gives a tensor pages of its own, which go back to the system with it."""

KEPT = 1.55
"""Bytes that a process holds for each byte of smaller tensors, at their most: what is freed in a heap stays there, and
does not quite fit what comes next (glibc's malloc; measured, see benchmarks/estimate_cpu.md)."""


@dataclass
class Work:
    """What the operations of a step take: `operations` is (arithmetic, bytes moved) of each."""

    operations: list[tuple[float, float]] = field(default_factory=list)

    @property
    def flops(self) -> float:
        return sum(flops for flops, _ in self.operations)

    @property
    def bytes(self) -> float:
        return sum(size for _, size in self.operations)

    def seconds(self, flops: float, moved: float, call: float) -> float:
        """At so many operations and bytes a second, and so many seconds a call: each is bound by its slowest part."""
        return sum(call + max(f / flops, b / moved) for f, b in self.operations)


class Ledger:
    """device: the type of the devices whose memory counts. kinds: bytes that live now, by what they are for. peak: the
    most they ever were together, and `at_peak` of which kinds.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.kinds: Counter[str] = Counter()
        self.work = Work()
        self._kind, self._live = "activations", 0
        self._known: dict[int, list[Any]] = {}
        self._mapped = 0
        self.restart()

    def restart(self) -> None:
        """The peak and the work are counted from here on."""
        self.peak, self.at_peak, self.work = self._live, dict(self.kinds), Work()
        self.heap_peak, self.mapped_peak = self._live - self._mapped, self._mapped

    @contextmanager
    def kind(self, name: str) -> Iterator[None]:
        """What is made inside is of this kind."""
        before, self._kind = self._kind, name
        try:
            yield
        finally:
            self._kind = before

    def note(self, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
        """One operation."""
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        new = [x for x in made if self._add(x)]
        packet = func._overloadpacket
        counted = packet in flop_registry
        # A view moves nothing; what changes its input in place does.
        if new or counted or func._schema.is_mutable:
            read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            flops = flop_registry[packet](*args, **kwargs, out_val=out) if counted else 0
            self.work.operations.append((flops, sum(x.numel() * x.element_size() for x in (*read, *new))))

    def call_it(self, tensor: Tensor, kind: str) -> None:
        """From here on what holds this tensor is of another kind."""
        entry = self._known.get(id(tensor.untyped_storage()))
        if entry is not None:
            self.kinds[entry[1]] -= entry[2]
            self.kinds[kind] += entry[2]
            entry[1] = kind

    def _add(self, tensor: Tensor) -> bool:
        """Whether its memory is new."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known or tensor.device.type != self.device:
            return False
        step = ROUNDING.get(self.device, 64)
        size = -(-storage.nbytes() // step) * step
        self._known[key] = [weakref.ref(storage, lambda _: self._drop(key)), self._kind, size]
        self.kinds[self._kind] += size
        self._count(size)
        return True

    def _count(self, size: int) -> None:
        self._live += size
        self._mapped += size * (abs(size) > MAPPED)
        if self._live > self.peak:
            self.peak, self.at_peak = self._live, dict(self.kinds)
        self.heap_peak = max(self.heap_peak, self._live - self._mapped)
        self.mapped_peak = max(self.mapped_peak, self._mapped)

    @property
    def held(self) -> int:
        """The most that the process holds for it: on a CPU more than its tensors."""
        return self.peak if self.device != "cpu" else int(KEPT * self.heap_peak + self.mapped_peak)

    def _drop(self, key: int) -> None:
        _, kind, size = self._known.pop(key)
        self.kinds[kind] -= size
        self._count(-size)
