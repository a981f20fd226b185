"""The kernel in use agrees with the definition, values and gradients, in the run's own precision."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from manyheads.attention.auto import Auto
from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.exact import Exact
from manyheads.attention.kernels import reference
from manyheads.attention.kernels.linear import reference as linear_reference
from manyheads.attention.kernels.registry import find
from manyheads.attention.linear import Linear
from manyheads.attention.mask import Mask
from manyheads.attention.race import candidates
from manyheads.preflight.findings import Finding, percent
from manyheads.preflight.heads import Seat, seats
from manyheads.preflight.precision import Precision

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

SHORT, LONG = 37, (75, 150, 270, 400, 470, 640)
"""Tokens; the first of LONG at which a pattern hides something is asked too. None is a round number. The presets' own
patterns begin to hide something at 258 tokens (window) and at 385 and 449 (BigBird, causal and both ways).
"""

STRIP = 32
"""Queries in a row that are compared at such a length: the definition pays for every pair of query and key."""


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
    for rows, n, padded, strip in _cases(seat, device):
        m = n + 6 if seat.cross else n
        lengths = torch.tensor([m, m // 3], device=device) if padded else None
        mask, given = seat.mask(n, m, lengths=lengths), seat.draw(rows, n, m, precision.dtype, device)
        if seat.attention.why_not(given[0], given[1], mask, seat.bias) is not None:
            continue
        exact = _results(_definition(seat, mask, strip), [x.double() for x in given], slice(None))
        for name, attend in _computations(seat.attention, mask, seat.bias, given):
            for what, own, wanted in zip(WHAT, _results(attend, given, strip), exact, strict=True):
                yield name or seat.attention.used, _error(own, wanted), what


WHAT = ("output", "gradient of q", "gradient of k", "gradient of v")


def _cases(seat: Seat, device: torch.device) -> Iterator[tuple[int, int, bool, slice]]:
    """Rows, tokens, whether rows are padded, and the queries that are compared."""
    yield 2, SHORT, True, slice(None)
    if seat.cross or getattr(seat.attention, "pattern", None) is None:
        yield 2, SHORT, False, slice(None)
        return
    hiding = ((n, at) for n in LONG if (at := _hidden(seat, n, device)) is not None)
    n, at = next(hiding, (LONG[-1], LONG[-1]))
    start = max(0, min(at - STRIP // 2, n - STRIP))
    # Rows of one length and of several take different paths through some kernels.
    yield 1, n, False, slice(start, start + STRIP)
    yield 2, n, True, slice(start, start + STRIP)


def _hidden(seat: Seat, n: int, device: torch.device) -> int | None:
    """The last query, of some, from which the pattern hides a key that the mask would show to the first head."""
    mask, zero = seat.mask(n, n), torch.zeros((), dtype=torch.long, device=device)
    j = torch.arange(n, device=device)
    i = torch.cat([j[:: STRIP // 2], j[-1:]]).unsqueeze(1)
    lost = mask.allowed(zero, zero, i, j) & ~mask.within(seat.attention.pattern).allowed(zero, zero, i, j)
    return int(i[lost.any(1)].max()) if lost.any() else None


def _definition(seat: Seat, mask: Mask, strip: slice) -> Attend:
    """What the queries of `strip` read."""
    first, behind, _ = strip.indices(mask.queries)
    if isinstance(seat.attention, Linear):
        exact = deepcopy(seat.attention).double()
        return lambda q, k, v: linear_reference.attend(q, k, v, mask, exact.feature(), exact.eps)[:, :, strip]
    within = mask.within(seat.attention.pattern)
    within = replace(within, queries=behind - first, offset=within.offset + first)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q[:, :, strip]
        return reference.attend(q, k, v, within, seat.bias, 0.0, seat.attention.shift(within, q))

    return attend


def _computations(
    attention: Attention, mask: Mask, bias: Bias | None, given: list[Tensor]
) -> Iterator[tuple[str | None, Attend]]:
    """What may compute during the training, and its name; None: the attention knows it afterwards."""
    if not isinstance(attention, Auto):
        yield None, lambda q, k, v: attention.attend(q, k, v, mask, bias)
        return
    within = mask.within(attention.pattern)
    q, k = (x.detach().requires_grad_() for x in given[:2])
    for name in candidates():
        kernel = find(name)
        if kernel.why_not(q, k, within, bias, None) is None:
            yield name, lambda q, k, v, kernel=kernel: kernel.attend(q, k, v, within, bias, 0.0, None)


def _results(attend: Attend, given: list[Tensor], strip: slice) -> list[Tensor]:
    """Output and gradients, in fp64, of the queries of `strip`."""
    leaves = [x.detach().requires_grad_() for x in given]
    out = attend(*leaves)[:, :, strip]
    # A gradient of its own for every number of the output, the same for all kernels.
    weight = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=torch.float64).view(out.shape).to(out.dtype)
    # As a sum: with a gradient for the output, torch imports sympy, which takes seconds.
    found = torch.autograd.grad((out * weight).sum(), leaves)
    return [x.detach().double() for x in (out, *found)]


def _error(own: Tensor, wanted: Tensor) -> float:
    return float((own - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
