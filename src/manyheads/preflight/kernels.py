"""The kernel in use agrees with the definition, values and gradients, in the run's own precision."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from manyheads.attention.auto import Auto
from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.exact import Exact
from manyheads.attention.kernels import reference
from manyheads.attention.kernels.linear import reference as linear_reference
from manyheads.attention.kernels.registry import find, names
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.preflight.findings import Finding, percent
from manyheads.preflight.heads import Seat, seats
from manyheads.preflight.precision import Precision

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

SHORT, LONG = 37, (75, 150, 300, 640)
"""Tokens; the first of LONG at which a pattern hides something is asked too. None is a round number."""


def kernels(model: nn.Module, precision: Precision) -> Finding:
    """Every distinct attention against `reference`, which computes in fp64 for it."""
    device, compared, without = next(model.parameters()).device, [], []
    for seat in seats(model):
        if not isinstance(seat.attention, Exact | Linear):
            without.append(type(seat.attention).__name__)
            continue
        for name, error, what in _errors(seat, precision, device):
            if not error <= precision.kernels:
                words = f"{seat.name} computes with {name}, whose {what} differs from reference by {percent(error)}"
                return Finding("kernels", False, words)
            compared.append(name)
    told = [f"reference is agreed with by {', '.join(dict.fromkeys(compared))}"] if compared else []
    told += [f"{', '.join(dict.fromkeys(without))} has none to be compared with"] if without else []
    return Finding("kernels", True, "; ".join(told))


def _errors(seat: Seat, precision: Precision, device: torch.device) -> Iterator[tuple[str, float, str]]:
    """Kernel, largest error as a share of the largest number, and what has it."""
    for rows, n, padded in _cases(seat, device):
        m = n + 6 if seat.cross else n
        lengths = None if not padded else torch.tensor([m, m // 3], device=device)[-rows:]
        mask, given = seat.mask(n, m, lengths=lengths), seat.draw(rows, n, m, precision.dtype, device)
        if seat.attention.why_not(given[0], given[1], mask, seat.bias) is not None:
            continue
        exact = _results(_definition(seat, mask, given[0]), [x.double() for x in given])
        for name, attend in _computations(seat.attention, mask, seat.bias, given):
            for what, own, wanted in zip(WHAT, _results(attend, given), exact, strict=True):
                yield name or seat.attention.used, _error(own, wanted), what


WHAT = ("output", "gradient of q", "gradient of k", "gradient of v")


def _cases(seat: Seat, device: torch.device) -> Iterator[tuple[int, int, bool]]:
    """Rows, tokens, and whether rows are padded."""
    yield 2, SHORT, False
    yield 2, SHORT, True
    pattern = None if seat.cross else getattr(seat.attention, "pattern", None)
    if pattern is not None:
        hiding = (n for n in LONG if _hides(pattern, seat.mask(n, n), seat.attention.heads, device))
        yield 1, next(hiding, LONG[-1]), False


def _hides(pattern: Pattern, mask: Mask, heads: int, device: torch.device) -> bool:
    """Whether the pattern takes something away from the mask."""
    return bool((mask.dense(heads, device) & ~mask.within(pattern).dense(heads, device)).any())


def _definition(seat: Seat, mask: Mask, q: Tensor) -> Attend:
    if isinstance(seat.attention, Linear):
        exact = deepcopy(seat.attention).double()
        return lambda q, k, v: linear_reference.attend(q, k, v, mask, exact.feature(), exact.eps)
    within = mask.within(seat.attention.pattern)
    shift = seat.attention.shift(within, q)
    return lambda q, k, v: reference.attend(q, k, v, within, seat.bias, 0.0, shift)


def _computations(
    attention: Attention, mask: Mask, bias: Bias | None, given: list[Tensor]
) -> Iterator[tuple[str | None, Attend]]:
    """What may compute during the training, and its name; None: the attention knows it afterwards."""
    if not isinstance(attention, Auto):
        yield None, lambda q, k, v: attention.attend(q, k, v, mask, bias)
        return
    within = mask.within(attention.pattern)
    q, k = (x.detach().requires_grad_() for x in given[:2])
    for name in names():
        kernel = find(name)
        if kernel.why_not(q, k, within, bias, None) is None:
            yield name, lambda q, k, v, kernel=kernel: kernel.attend(q, k, v, within, bias, 0.0, None)


def _results(attend: Attend, given: list[Tensor]) -> list[Tensor]:
    """Output and gradients, in fp64."""
    leaves = [x.detach().requires_grad_() for x in given]
    out = attend(*leaves)
    # A gradient of its own for every number of the output, the same for all kernels.
    weight = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=torch.float64).view(out.shape).to(out.dtype)
    return [x.detach().double() for x in (out, *torch.autograd.grad(out, leaves, weight))]


def _error(own: Tensor, wanted: Tensor) -> float:
    return float((own - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
