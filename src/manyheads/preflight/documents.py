"""No look across packed documents: each attention is asked by itself, and a model that takes them as a whole."""

import torch
from torch import Tensor, nn

from manyheads.model.shapes import DecoderOnly
from manyheads.preflight.findings import Finding, percent
from manyheads.preflight.heads import Seat, seats
from manyheads.preflight.precision import Precision
from manyheads.preflight.subjects.packed import across
from manyheads.preflight.trace import share

LENGTH, BORDER = 9, 5
"""Two documents in a row: positions before BORDER and from it on."""


@torch.no_grad()
def documents(model: nn.Module, precision: Precision) -> Finding:
    """Keys and values of one document change nothing in another."""
    device, refused = next(model.parameters()).device, []
    for seat in (seat for seat in seats(model) if not seat.cross):
        reason, leak = _asked(seat, precision, device)
        refused += [f"{seat.name} refuses them ({reason.rstrip('.')})"] if reason else []
        if not leak <= precision.leak:
            return _crossed(seat.name, leak)
    if not refused and isinstance(model, DecoderOnly):
        with precision.around(device):
            leak = across(model, precision.of(model).leak)
        if leak is not None:
            return _crossed(*leak)
    return Finding("documents", True, "; ".join(refused) or "packed documents do not see each other")


def _crossed(name: str, leak: float) -> Finding:
    words = f"{name} looks across packed documents: another one changes its output by {percent(leak)}"
    return Finding("documents", False, words)


def _asked(seat: Seat, precision: Precision, device: torch.device) -> tuple[str | None, float]:
    """Why it cannot take documents, if so; the largest leak in either direction."""
    q, k, v = seat.draw(1, LENGTH, LENGTH, precision.dtype, device)
    first = torch.arange(LENGTH, device=device) < BORDER
    mask = seat.mask(LENGTH, LENGTH, documents=(~first).long().unsqueeze(0))
    reason = seat.attention.why_not(q, k, mask, seat.bias)
    if reason is not None:
        return reason, 0.0

    def read(hidden: Tensor | None) -> Tensor:
        # Shifted and turned, so that neither what keys say nor how much they weigh stays.
        other = [x if hidden is None else torch.where(hidden.view(1, 1, -1, 1), 1 - x, x) for x in (k, v)]
        return seat.attention.attend(q, *other, mask, seat.bias).float()

    before = read(None)
    return None, max(share(before[:, :, ~hidden], read(hidden)[:, :, ~hidden]) for hidden in (first, ~first))
