"""Times computations of attention against each other, on inputs like those at hand.

Sizes are rounded up, so that inputs of nearly the same size share one measurement; values are drawn from a generator of
its own, and no global random state is touched.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from manyheads.attention.bias import Bias, DistanceBias
from manyheads.attention.kernels.registry import find, names
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.errors import UserError

Found = dict[str, float | str]
"""Seconds of each candidate, or the reason why it was not timed."""

SCORES = 1 << 22
"""Scores of one measurement: beyond, rows are left out (16 MiB in fp32), since time grows with them in proportion."""

WRITTEN_OUT = 1 << 26
"""Scores that the specification, which keeps them all several times over, is trusted with: beyond, memory runs out."""

SLOW_STARTERS = frozenset({"flex"})
"""Kernels that do not compete: flex is compiled anew for each length, for longer than many a training takes."""

HEAT = 1 << 22
"""Queries · keys from which on candidates qualify at a quarter of the length first: a slow one could take minutes."""

WORDS = 200
"""Letters that are kept of an error; compilers print whole programs."""

HOPELESS = 3.0
"""Times the fastest of a heat that puts a candidate out; exact ones fall further behind with length, not less."""


@dataclass(frozen=True)
class Case:
    """What the time of a kernel depends on. `mask`, `bias`: their kinds in words, a pattern with its values."""

    device: torch.device
    dtype: torch.dtype
    rows: int
    heads: int
    kv_heads: int
    head_dim: int
    queries: int
    keys: int
    mask: str
    bias: str
    dropout: float
    gradients: bool

    def __str__(self) -> str:
        heads = f"{self.heads}/{self.kv_heads} heads of {self.head_dim}"
        sizes = f"{self.rows} x {heads}, {self.queries} queries, {self.keys} keys"
        passes = "forward + backward" if self.gradients else "forward"
        words = [str(self.dtype).removeprefix("torch."), sizes, self.mask, self.bias, f"dropout {self.dropout:g}"]
        return " · ".join([*words, passes])


def case_of(q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, dropout: float, pattern: Pattern | None) -> Case:
    """The case of these inputs; `pattern` is the one all layers share, before `at(layer)`."""
    n, m = rounded(q.size(2)), rounded(k.size(2))
    rows = 4 ** -(-(q.size(0) - 1).bit_length() // 2)
    rows = max(1, min(rows, SCORES // (q.size(1) * n * m)))
    gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    size = (rows, q.size(1), k.size(1), q.size(3), n, m)
    return Case(q.device, q.dtype, *size, _mask_words(mask, pattern), _bias_words(bias), dropout, gradients)


def rounded(length: int) -> int:
    """The next power of two, from 16 on; 1 stays 1: a step of decoding is a case of its own."""
    return 1 if length == 1 else max(16, 1 << (length - 1).bit_length())


def _mask_words(mask: Mask, pattern: Pattern | None) -> str:
    words = ["causal" if mask.causal else "cross" if mask.cross else "full"]
    words += [name for name in ("lengths", "documents") if getattr(mask, name) is not None]
    words += [] if mask.pattern is None else [str(pattern)]
    return "+".join([*words, *_offset_words(mask)])


def _offset_words(mask: Mask) -> list[str]:
    if isinstance(mask.offset, Tensor):
        return ["an offset per row"]
    return [] if mask.offset == mask.keys - mask.queries else ["an offset"]


def _bias_words(bias: Bias | None) -> str:
    if bias is None:
        return "no bias"
    if isinstance(bias, DistanceBias):
        return "distance bias"
    axes = ("1" if size == 1 else name for size, name in zip(bias.shape, "bhnm"[-bias.dim() :], strict=True))
    return f"bias ({', '.join(axes)})" + (" that learns" if bias.requires_grad else "")


# --- inputs of a case ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """What an attention is given, and the gradient of what it returns."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Mask
    bias: Bias | None
    grad: Tensor


def inputs(case: Case, mask: Mask, bias: Bias | None) -> Inputs:
    """Inputs of the sizes of `case` under a mask and a bias of the kinds of these."""
    dice = torch.Generator(case.device).manual_seed(0)

    def heads(count: int, length: int) -> Tensor:
        # As projections leave them: heads lie side by side within a position.
        shape = (case.rows, length, count, case.head_dim)
        made = torch.randn(shape, generator=dice, device=case.device, dtype=torch.float32)
        return made.to(case.dtype).transpose(1, 2).requires_grad_(case.gradients)

    q, k, v = heads(case.heads, case.queries), heads(case.kv_heads, case.keys), heads(case.kv_heads, case.keys)
    return Inputs(q, k, v, _like(mask, case), _bias_like(bias, case), torch.ones_like(q))


def _like(mask: Mask, case: Case) -> Mask:
    """A mask of the same kind: rows get shorter and shorter down to half; four documents share a row."""
    rows, n, m = case.rows, case.queries, case.keys
    at = torch.arange(rows, device=case.device)
    lengths = (m - at * m // (2 * rows)).clamp(min=min(n, m))
    documents = torch.arange(m, device=case.device) * 4 // m
    return Mask(
        n,
        m,
        causal=mask.causal,
        lengths=None if mask.lengths is None else lengths,
        documents=None if mask.documents is None else documents.expand(rows, m),
        pattern=mask.pattern,
        offset=_offset_like(mask, n, m, lengths),
        cross=mask.cross,
    )


def _offset_like(mask: Mask, n: int, m: int, lengths: Tensor) -> int | Tensor | None:
    if isinstance(mask.offset, Tensor):
        return lengths - n
    return None if mask.offset == mask.keys - mask.queries else max(0, min(int(mask.offset), m - n))


def _bias_like(bias: Bias | None, case: Case) -> Bias | None:
    if bias is None or isinstance(bias, DistanceBias):
        return bias
    whole = (case.rows, case.heads, case.queries, case.keys)[-bias.dim() :]
    shape = [1 if size == 1 else wanted for size, wanted in zip(bias.shape, whole, strict=True)]
    return torch.zeros(shape, dtype=bias.dtype, device=case.device, requires_grad=bias.requires_grad)


# --- the race ------------------------------------------------------------------------------------------------------


def candidates() -> list[str]:
    """The kernels that compete; any other one is still to be had by `attention.kernel`."""
    return [name for name in names() if name not in SLOW_STARTERS]


def race(case: Case, kernels: list[str], mask: Mask, bias: Bias | None) -> Found:
    """Seconds of these exact kernels on `case`, or why they were not timed; `mask`, `bias` show their kinds."""
    found: Found = {}
    if case.queries * case.keys >= HEAT and case.queries > 1:
        found = _beaten(race(_shorter(case), kernels, mask, bias))
    with aside(case.device):
        given = inputs(case, mask, bias)
        for name in (name for name in kernels if name not in found):
            best = min((s for s in found.values() if isinstance(s, float)), default=float("inf"))
            found[name] = _timed(name, case, given, HOPELESS * best)
    return found


def _shorter(case: Case) -> Case:
    return replace(case, queries=max(16, case.queries // 4), keys=max(16, case.keys // 4))


def _beaten(heat: Found) -> Found:
    """Who need not run at full length: what cannot run, and what is far behind."""
    fastest = min((seconds for seconds in heat.values() if not isinstance(seconds, str)), default=float("inf"))
    words = f"{HOPELESS:g} times slower than the fastest at a quarter of the length"
    slow = {name: words for name, s in heat.items() if not isinstance(s, str) and s > HOPELESS * fastest}
    return {**{name: reason for name, reason in heat.items() if isinstance(reason, str)}, **slow}


def _timed(name: str, case: Case, given: Inputs, enough: float) -> float | str:
    kernel = find(name)
    scores = case.rows * case.heads * case.queries * case.keys
    if name == "reference" and scores > WRITTEN_OUT:
        return f"it would write out {scores:,} scores"

    def attend() -> Tensor:
        return kernel.attend(given.q, given.k, given.v, given.mask, given.bias, case.dropout, None)

    def time() -> float | str:
        reason = kernel.why_not(given.q, given.k, given.mask, given.bias, None)
        return reason or seconds(call(attend, given, case), case.device, enough)

    return attempt(time)


def attempt(time: Callable[[], float | str]) -> float | str:
    """What `time` finds, or why it failed: who cannot run has lost, and the others run on.

    Compilers raise whatever they like, so any error counts; what ends a process (KeyboardInterrupt) passes.
    """
    try:
        return time()
    except torch.OutOfMemoryError:
        return "the device has too little memory for it"
    except UserError as problem:
        return str(problem)
    except Exception as problem:
        first = next(iter(str(problem).strip().splitlines()), "")
        return f"it failed with {type(problem).__name__}: {first[:WORDS]}"


def call(attend: Callable[[], Tensor], given: Inputs, case: Case) -> Callable[[], None]:
    """One call as a model makes it: backward too where gradients are wanted."""

    def both() -> None:
        out = attend()
        if case.gradients:
            torch.autograd.grad(out, (given.q, given.k, given.v), given.grad, allow_unused=True)

    return both


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Nothing around a measurement notices it, such as a counter of operations, nor does the global random state."""
    devices = [] if device.type == "cpu" else [device]
    with _disable_current_modes(), torch.random.fork_rng(devices, device_type=device.type):
        yield


clock = time.perf_counter


def seconds(run: Callable[[], None], device: torch.device, enough: float = float("inf")) -> float:
    """The shortest time of a call. The first call, which may compile, counts only where it is long by itself.

    enough: who takes longer has lost, and is not timed more closely.
    """
    best, spent, calls = float("inf"), 0.0, 0
    while calls < 3 or (spent < 0.03 and calls < 20):
        begun = clock()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        took = clock() - begun
        spent, calls = spent + took, calls + 1
        if calls > 1 or took > 1.0:
            best = min(best, took)
        if best < float("inf") and (spent > 1.0 or best > enough):
            break
    return best
